//! What is said of methods that the server does not have.

use super::OPEN_INFERENCE;

/// What to do instead of Triton's methods, by how their names begin.
const INSTEAD: [(&str, &str); 5] = [
    (
        "ModelStreamInfer",
        "use ModelInfer with many images a call, or ScoreStream of lfbm.v1.AnomalyDetector",
    ),
    ("SystemSharedMemory", SEND),
    ("CudaSharedMemory", SEND),
    (
        "TraceSetting",
        "traces are set when the server starts, by --otlp-endpoint and --trace-sampling-ratio",
    ),
    (
        "LogSettings",
        "the log is set when the server starts, by --log and --log-format",
    ),
];
const SEND: &str = "values cannot lie in shared memory, send them in raw_input_contents";

/// Why there is no method at `path`, and what to do instead.
pub(super) fn message(path: &str) -> String {
    let instead = path.strip_prefix(OPEN_INFERENCE).and_then(|method| {
        let mut known = INSTEAD.iter();
        known.find(|(name, _)| method.starts_with(name))
    });
    match instead {
        Some((_, instead)) => format!("this server does not have the method; {instead}"),
        None => {
            "expected a method of this server, got the path of none; server reflection lists them"
                .to_owned()
        }
    }
}
