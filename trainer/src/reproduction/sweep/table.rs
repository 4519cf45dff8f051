//! Means and standard deviations over seeds.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::Sweep;

/// Rows per settings: the score's name in a report, and in the table. Models of whole images have a local
/// score, models of sites a site score.
const SCORES: [(&str, &str); 5] = [
    ("local_score", "local score"),
    ("site_score", "site score"),
    ("log_joint", "log joint"),
    ("site_distance", "distances alone"),
    ("nearest_neighbour", "1-NN, unit norm, PCA-50"),
];

/// A finished cell: a line of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// The data set.
    #[serde(default)]
    pub dataset: String,
    /// The name of its settings.
    pub settings: String,
    /// The held-out class.
    pub holdout: String,
    /// The seed.
    pub seed: u64,
    /// What `trainer fit --set` was given.
    #[serde(default)]
    pub changes: Vec<String>,
    /// The output of `trainer evaluate --json`.
    pub evaluation: serde_json::Value,
}

impl CellResult {
    /// The AUPRC of a score, by its name in a report.
    pub(super) fn auprc(&self, score: &str) -> Option<f64> {
        self.evaluation["metrics"][score]["auprc"].as_f64()
    }
}

/// AUPRC by score that a model has and held-out class: the mean over seeds, the standard deviation where there are
/// two or more, and the number of seeds; published rows below.
pub fn table(sweep: &Sweep, results: &[CellResult]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let header = ["AUPRC".to_owned()].into_iter();
    table.set_header(header.chain(sweep.holdouts.iter().cloned()));
    for settings in sweep.named_settings().keys() {
        let known = |score: &str| {
            let mut of_settings = results.iter().filter(|r| r.settings == *settings);
            of_settings.any(|result| result.auprc(score).is_some())
        };
        for (score, title) in SCORES.into_iter().filter(|(score, _)| known(score)) {
            let cells = sweep.holdouts.iter().map(|holdout| {
                let of = |result: &&CellResult| {
                    result.settings == *settings && result.holdout == *holdout
                };
                let values = results.iter().filter(of).filter_map(|r| r.auprc(score));
                summary(&values.collect::<Vec<_>>())
            });
            table.add_row([format!("{settings}: {title}")].into_iter().chain(cells));
        }
    }
    for (name, values) in &sweep.published {
        table.add_row([name.clone()].into_iter().chain(published(sweep, values)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn published<'a>(
    sweep: &'a Sweep,
    values: &'a BTreeMap<String, f64>,
) -> impl Iterator<Item = String> + 'a {
    sweep.holdouts.iter().map(|holdout| {
        values
            .get(holdout)
            .map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
    })
}

fn summary(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    match values {
        [] => "-".to_owned(),
        [only] => format!("{only:.3} (1)"),
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let deviation = (squares / (n - 1.0)).sqrt();
            format!("{mean:.3} ±{deviation:.3} ({n})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations_by_hand() {
        assert_eq!(summary(&[]), "-");
        assert_eq!(summary(&[0.5]), "0.500 (1)");
        assert_eq!(summary(&[0.8, 0.9, 1.0]), "0.900 ±0.100 (3)");
    }

    #[test]
    fn a_row_a_score_and_a_row_a_publication() {
        let sweep: Sweep = toml::from_str(
            "dataset = \"mnist\"\nholdouts = [\"1\", \"4\"]\nseeds = [0, 1]\n\
             [settings]\na = []\n[published]\npaper = { 4 = 0.812 }",
        )
        .unwrap();
        let result = |holdout: &str, seed, auprc| CellResult {
            dataset: "mnist".to_owned(),
            settings: "a".to_owned(),
            holdout: holdout.to_owned(),
            seed,
            changes: Vec::new(),
            evaluation: serde_json::json!({"metrics": {"local_score": {"auprc": auprc}}}),
        };
        let results = [
            result("4", 0, 0.9),
            result("4", 1, 0.8),
            result("1", 0, 0.7),
        ];
        let text = table(&sweep, &results).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2 + 1 + 1, "{text}");
        assert!(
            lines[2].contains("0.700 (1)") && lines[2].contains("0.850 ±0.071 (2)"),
            "{text}"
        );
        assert!(
            lines[3].contains("paper") && lines[3].contains("0.812"),
            "{text}"
        );
    }
}
