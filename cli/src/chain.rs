//! The densities of one chain.

use lfbm_wire::ChainScore;
use serde_json::{Value, json};

/// The columns of [`cells`].
pub(crate) const COLUMNS: [&str; 3] = ["log p(z)", "log p(x|z)", "log joint"];

/// A row of a table.
pub(crate) fn cells(score: &ChainScore) -> [String; 3] {
    [score.log_prior, score.log_likelihood, score.log_joint].map(|value| format!("{value:.2}"))
}

/// A JSON object.
pub(crate) fn json(score: &ChainScore) -> Value {
    json!({
        "log_joint": score.log_joint,
        "log_prior": score.log_prior,
        "log_likelihood": score.log_likelihood,
    })
}
