//! Means and standard deviations over seeds.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::{Measure, Sweep};
use crate::reproduction::measurement::Counts;
use crate::reproduction::summary::{Summary, decimals};

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
    /// Of how many images `measures` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// What was measured besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measures: BTreeMap<Measure, f64>,
}

impl CellResult {
    /// The AUPRC of a score, by its name in a report.
    fn auprc(&self, score: &str) -> Option<f64> {
        self.evaluation["metrics"][score]["auprc"].as_f64()
    }

    /// The number of a measure, if it is known.
    pub(super) fn value(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Auprc => self.auprc("log_joint"),
            _ => self.measures.get(&measure).copied(),
        }
    }

    /// The number of a measure, if it is known of so many images.
    pub(super) fn value_of(&self, measure: Measure, counts: Counts) -> Option<f64> {
        let is_of_them = measure == Measure::Auprc || self.counts == Some(counts);
        self.value(measure).filter(|_| is_of_them)
    }
}

/// A table of AUPRC, and one of each other measure that a result has, by held-out class: the mean over seeds, the
/// standard deviation where there are two or more, and the number of seeds.
pub fn tables(sweep: &Sweep, results: &[CellResult]) -> Vec<Table> {
    let measures: BTreeSet<_> = results.iter().flat_map(|r| r.measures.keys()).collect();
    let others = measures.into_iter().map(|&measure| {
        let mut table = empty(measure.title(), sweep);
        for settings in sweep.named_settings().into_keys() {
            let value = |result: &CellResult| result.value(measure);
            row(&mut table, sweep, results, (&settings, None), value);
        }
        aligned(table)
    });
    [detection(sweep, results)]
        .into_iter()
        .chain(others)
        .collect()
}

/// AUPRC by score that a model has; published rows below.
fn detection(sweep: &Sweep, results: &[CellResult]) -> Table {
    let mut table = empty("AUPRC", sweep);
    for settings in sweep.named_settings().into_keys() {
        for (score, title) in SCORES {
            let value = |result: &CellResult| result.auprc(score);
            row(&mut table, sweep, results, (&settings, Some(title)), value);
        }
    }
    for (name, values) in &sweep.published {
        table.add_row([name.clone()].into_iter().chain(published(sweep, values)));
    }
    aligned(table)
}

fn empty(title: &str, sweep: &Sweep) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let header = [title.to_owned()].into_iter();
    table.set_header(header.chain(sweep.holdouts.iter().cloned()));
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Adds the row of the settings of that name and their score, if any of the results has a value.
fn row(
    table: &mut Table,
    sweep: &Sweep,
    results: &[CellResult],
    (settings, score): (&str, Option<&str>),
    value: impl Fn(&CellResult) -> Option<f64>,
) {
    let of_settings = || results.iter().filter(|r| r.settings == settings);
    if !of_settings().any(|result| value(result).is_some()) {
        return;
    }
    let cells = sweep.holdouts.iter().map(|holdout| {
        let values = of_settings().filter(|result| result.holdout == *holdout);
        let values: Vec<f64> = values.filter_map(&value).collect();
        Summary::of(&values).map_or_else(
            || "-".to_owned(),
            |summary| {
                // AUPRC are compared with each other; other numbers have any size.
                let decimals = score.map_or_else(|| decimals(summary.mean), |_| 3);
                format!("{} ({})", summary.text(decimals), values.len())
            },
        )
    });
    let title = score.map_or_else(
        || settings.to_owned(),
        |score| format!("{settings}: {score}"),
    );
    table.add_row([title].into_iter().chain(cells));
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

#[cfg(test)]
mod tests {
    use super::*;

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
            counts: None,
            measures: BTreeMap::from([(Measure::SquaredError, 0.1 * auprc)]),
        };
        let results = [
            result("4", 0, 0.9),
            result("4", 1, 0.8),
            result("1", 0, 0.7),
        ];
        let tables = tables(&sweep, &results);
        let text = tables[0].to_string();
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
        assert_eq!(tables.len(), 2);
        let text = tables[1].to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("squared error of"), "{text}");
        assert!(
            lines[2].starts_with("| a") && lines[2].contains("0.07000 (1)"),
            "{text}"
        );
        assert!(lines[2].contains("0.08500 ±0.00707 (2)"), "{text}");
    }
}
