// Results as a file of comma-separated values (RFC 4180).

const COLUMNS = [
  "image", "model", "version", "verdict", "local_score", "local_p_value", "site_score", "site_p_value", "p_value",
  "log_joint", "log_prior", "log_likelihood", "log_joint_std", "log_prior_std", "log_likelihood_std",
  "false_alarm_rate", "map_threshold", "queue_time_s", "compute_time_s", "error",
];

/** The results as text: numbers as the server wrote them. */
export function csv(results) {
  const lines = results.map((result) => {
    const { name, model, score, error } = result;
    const values = { ...score, image: text(name), model: text(model.name), version: model.version, error: text(error ?? "") };
    return COLUMNS.map((column) => cell(values[column])).join(",");
  });
  return [COLUMNS.join(","), ...lines, ""].join("\r\n");
}

/** Offers text as a file. */
export function download(content, name) {
  const address = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

// Spreadsheets take text that begins so for a formula.
function text(value) {
  return /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
}

function cell(value) {
  const written = String(value ?? "");
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}
