#!/usr/bin/env python3
"""Prints the Grafana dashboard of the server: every metric of /metrics, a panel each.

    scripts/dashboard.py > deploy/grafana/dashboards/lfbm.json

`scripts/check-deploy.py` fails when a metric has no panel. A new metric is a line in ROWS.
"""
import json

SELECTOR = '{instance=~"$instance"}'


def rate(metric: str, *by: str):
    """Events per second."""
    legend = " ".join("{{%s}}" % label for label in by)
    return [(f"sum by ({', '.join(by)}) (rate({metric}{SELECTOR}[$__rate_interval]))", legend)]


def value(metric: str, *by: str):
    """A gauge as it is."""
    legend = " ".join("{{%s}}" % label for label in by)
    return [(f"sum by ({', '.join(by)}) ({metric}{SELECTOR})", legend)]


def quantiles(metric: str, *by: str):
    """The median and the tail of a histogram."""
    groups = ", ".join((*by, "le"))
    buckets = f"sum by ({groups}) (rate({metric}_bucket{SELECTOR}[$__rate_interval]))"
    legend = " ".join("{{%s}}" % label for label in by)
    return [(f"histogram_quantile({q}, {buckets})", f"p{round(100 * q)} {legend}".strip())
            for q in (0.5, 0.9, 0.99)]


def mean(metric: str, *by: str):
    """The mean of a histogram's values."""
    sums, counts = (f"sum by ({', '.join(by)}) (rate({metric}_{part}{SELECTOR}[$__rate_interval]))"
                    for part in ("sum", "count"))
    return [(f"{sums} / {counts}", " ".join("{{%s}}" % label for label in by))]


def share(part: str, rest: str, *by: str):
    """What `part` is of both."""
    (first, legend), (second, _) = rate(part, *by)[0], rate(rest, *by)[0]
    return [(f"{first} / ({first} + {second})", legend)]


def agreement():
    """The share of images for which two versions have the same verdict."""
    metric, groups = "lfbm_shadow_verdicts_total", "model, version, live_version"

    def rates(matchers: str):
        selector = SELECTOR.replace("{", "{" + matchers)
        return f"sum by ({groups}) (rate({metric}{selector}[$__rate_interval]))"

    equal = " + ".join(rates(f'live="{verdict}", shadow="{verdict}", ') for verdict in ("normal", "anomalous"))
    return [(f"({equal}) / {rates('')}", "{{model}} {{version}} against {{live_version}}")]


MODEL = ("model", "version")
PAIR = (*MODEL, "live_version")

# Row: (title, unit, queries, what to make of it).
ROWS = {
    "Requests": [
        ("Requests by code", "reqps", rate("lfbm_requests_total", "method", "code"),
         "Internal, Unknown and Unavailable are the server's faults."),
        ("Refused without inference", "reqps", rate("lfbm_rejected_total", "reason"),
         "overloaded asks for replicas; invalid is a client's mistake."),
        ("Panics", "ops", rate("lfbm_panics_total", "instance"),
         "Each is a defect; the log has it. The process goes on."),
        ("Changes of certificates and tokens", "ops",
         rate("lfbm_reloads_total", "files", "result"),
         "After a failure the old ones stay."),
        ("Lines of the audit log", "ops", rate("lfbm_audit_lines_total", "instance", "result"),
         "None is to be dropped."),
        ("Failed writes of the audit log", "ops", rate("lfbm_audit_write_failures_total", "instance"),
         "Its lines wait meanwhile."),
        ("Duration of a request", "s", quantiles("lfbm_request_duration_seconds", "method"),
         "From arrival to answer."),
    ],
    "Scheduling": [
        ("Time in the queue", "s", quantiles("lfbm_queue_duration_seconds", *MODEL),
         "From admission to the first Langevin step."),
        ("Time of compute", "s", quantiles("lfbm_compute_duration_seconds", *MODEL),
         "From the first step to the score."),
        ("Chains waiting", "short", value("lfbm_chains_waiting", "instance", *MODEL, "priority"),
         "The depth of the queue, and what the autoscaler looks at."),
        ("Chains running", "short", value("lfbm_chains_running", "instance", *MODEL),
         "Rows in use."),
        ("Steps", "ops", rate("lfbm_chain_steps_total", *MODEL),
         "Posterior steps a second, summed over chains: the work that is done."),
        ("Steps by device", "ops", rate("lfbm_device_chain_steps_total", *MODEL, "device"),
         "The same for each GPU or NUMA node of --device: they share one queue, so equal ones are equally busy."),
        ("Padding", "percentunit",
         share("lfbm_padding_steps_total", "lfbm_chain_steps_total", *MODEL),
         "Share of the work that only filled batches up to a size that is run."),
        ("Duration of a step", "s", quantiles("lfbm_step_duration_seconds", *MODEL),
         "One posterior step of the whole batch."),
        ("Suspended chains", "ops", rate("lfbm_chain_suspensions_total", *MODEL),
         "Chains that gave their row to others, to go on later."),
        ("Sites", "ops", rate("lfbm_sites_total", *MODEL),
         "Sites that were scored; an image of a model of whole images is one."),
        ("Reading an image", "s", quantiles("lfbm_reading_duration_seconds", *MODEL),
         "What a thread needs to make the vectors of an image's sites."),
        ("Chains that share a step", "short", mean("lfbm_step_chains", *MODEL),
         "Of one thread. Near its share of --max-batch-chains the server is busy; near 1 it is idle, or alone."),
    ],
    "Scores and drift": [
        ("Verdicts", "ops", rate("lfbm_verdicts_total", "model", "version", "verdict"), ""),
        ("p-values", "short", quantiles("lfbm_score_p_value", *MODEL, "decision"),
         "Of the score that makes the verdict. As long as images are normal the median is 0.5."),
        ("Log joint", "short", quantiles("lfbm_score_log_joint_nats", *MODEL), "In nats."),
        ("Share of p-values below 0.01", "percentunit",
         value("lfbm_drift_p_value_below_001_ratio", "instance", *MODEL, "decision"),
         "1 % as long as images are normal."),
        ("Kolmogorov distance to the calibration", "short",
         value("lfbm_drift_kolmogorov_distance", "instance", *MODEL, "decision"),
         "0: scores are distributed as in calibration."),
        ("Scores in the window", "short", value("lfbm_drift_window_scores", "instance", *MODEL, "decision"),
         "How many scores the two figures of drift rest on."),
    ],
    "Shadow versions": [
        ("Same verdict", "percentunit", agreement(),
         "Share of the images for which the shadow version and the one that answered have the same verdict."),
        ("Verdicts", "ops", rate("lfbm_shadow_verdicts_total", *PAIR, "live", "shadow"),
         "live is the verdict of the version that answered."),
        ("Distance of p-values", "short", quantiles("lfbm_shadow_p_value_difference", *PAIR),
         "Small as long as both versions rank images alike."),
        ("Images", "ops", rate("lfbm_shadow_images_total", *MODEL, "result"),
         "Dropped ones found no room: the server has too little time left. The log has why others failed."),
        ("Served", "short", value("lfbm_shadow_served", "instance", *MODEL),
         "0: its bundle is not there, or refused."),
    ],
    "Models": [
        ("Models served", "short",
         value("lfbm_model_info", "instance", "model", "version", "generator"), ""),
        ("Devices, asked for and got", "short",
         value("lfbm_model_device_info", "instance", "model", "version", "asked", "got", "precision", "cuda_graphs"),
         "They differ where the fall-back is allowed."),
        ("Bundles refused at present", "short", value("lfbm_models_refused", "instance"),
         "The log names the file and the reason."),
        ("Failed loads", "ops", rate("lfbm_model_load_failures_total", "reason"), ""),
        ("Duration of a load", "s", mean("lfbm_model_load_seconds", "instance"), ""),
    ],
    "Process": [
        ("Version", "short", value("lfbm_build_info", "instance", "version"), ""),
        ("Start", "dateTimeAsIso",
         [(f"1000 * process_start_time_seconds{SELECTOR}", "{{instance}}")], ""),
        ("CPU", "short", rate("process_cpu_seconds_total", "instance"), "Cores in use."),
        ("Resident memory", "bytes", value("process_resident_memory_bytes", "instance"), ""),
        ("Virtual memory", "bytes", value("process_virtual_memory_bytes", "instance"), ""),
        ("File handles", "short", value("process_open_fds", "instance"),
         "One a connection."),
        ("File handles at most", "short", value("process_max_fds", "instance"), ""),
        ("Threads", "short", value("process_threads", "instance"), ""),
    ],
}

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


def panel(number: int, title: str, unit: str, queries, description: str, x: int, y: int):
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend,
                     "datasource": SOURCE} for i, (expr, legend) in enumerate(queries)],
    }


def variable(name: str, query: str):
    return {"name": name, "type": "query", "datasource": SOURCE, "query": query,
            "definition": query, "refresh": 2, "multi": True, "includeAll": True,
            "current": {"text": "All", "value": "$__all"}}


def dashboard():
    panels, y = [], 0
    for row, items in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y += 1
        for index, item in enumerate(items):
            x = index % COLUMNS * WIDTH
            panels.append(panel(len(panels) + 1, *item, x, y + index // COLUMNS * HEIGHT))
        y += -(-len(items) // COLUMNS) * HEIGHT
    return {
        "uid": "lfbm-server",
        "title": "LFBM server",
        "tags": ["lfbm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            variable("instance", "label_values(lfbm_build_info, instance)"),
        ]},
        "panels": panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
