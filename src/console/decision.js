// Which score of a model makes the verdict, and what a threshold of it flags.

/** The score that decides: its fields in replies, its threshold, and whether high values are anomalous. */
export function decisionOf(model) {
  if (model.decision === "local") {
    return { score: "local_score", pValue: "local_p_value", title: "Local score", threshold: model.threshold_local_score, isHighAnomalous: true };
  }
  if (model.decision === "sites") {
    return { score: "site_score", pValue: "site_p_value", title: "Site score", threshold: model.threshold_site_score, isHighAnomalous: true };
  }
  return { score: "log_joint", pValue: "p_value", title: "Log joint", threshold: model.threshold_log_joint, isHighAnomalous: false };
}

export function isFlagged(decision, value, threshold) {
  return decision.isHighAnomalous ? value > threshold : value < threshold;
}

/**
 * The share of normal images that a threshold flags, as a sentence's end; "" if it cannot be told. The p-value of an
 * image is that share at its own score, so that the shares between are those between the images on this page.
 */
export function normalShare(decision, model, scores, threshold, percent) {
  const known = scores
    .filter((score) => Number.isFinite(score[decision.score]) && Number.isFinite(score[decision.pValue]))
    .map((score) => [score[decision.score], score[decision.pValue]]);
  if (model.false_positive_rate > 0) known.push([decision.threshold, model.false_positive_rate]);
  if (known.length === 0) return "";
  const sign = decision.isHighAnomalous ? 1 : -1;
  // From the most normal to the most unusual.
  known.sort((a, b) => sign * (a[0] - b[0]));
  const above = known.findIndex(([value]) => sign * (value - threshold) >= 0);
  if (above < 0) return `at most ${percent(known.at(-1)[1])} of normal images`;
  const [value, share] = known[above];
  if (value === threshold) return `${percent(share)} of normal images`;
  if (above === 0) return `at least ${percent(share)} of normal images`;
  const [before, shareBefore] = known[above - 1];
  const part = (threshold - before) / (value - before);
  return `about ${percent(shareBefore + part * (share - shareBefore))} of normal images`;
}
