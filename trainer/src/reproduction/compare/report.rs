//! The report of a comparison.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::FitResult;
use super::costs::Costs;
use crate::data::Mask;
use crate::reproduction::summary::{Summary, decimals};

/// The parts whose parameters are counted.
const PARTS: [&str; 3] = ["prior", "generator", "encoder"];

/// Models side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The data set, and the class that was held out.
    pub title: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The masks.
    pub masks: Vec<Mask>,
    /// The models; ratios are to the first.
    pub models: Vec<String>,
    /// The results of all fits.
    pub fits: Vec<FitResult>,
}

/// A row of the table.
struct Row {
    title: String,
    /// Of which fits.
    mask: Option<Mask>,
    value: Box<dyn Fn(&FitResult) -> Option<f64>>,
    /// Whether values are whole numbers.
    counts: bool,
}

impl Report {
    /// As Markdown: a column per model, with its ratio to the first in brackets.
    pub fn markdown(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header = [String::new()].into_iter();
        table.set_header(header.chain(self.models.iter().cloned()));
        for row in self.rows() {
            let summaries: Vec<_> = (self.models.iter())
                .map(|model| self.summary(model, &row))
                .collect();
            let first = summaries.first().copied().flatten();
            let first = first.map(|first| first.mean).filter(|mean| *mean != 0.0);
            let cells = summaries.iter().enumerate().map(|(index, summary)| {
                let Some(summary) = summary else {
                    return "-".to_owned();
                };
                let decimals = if row.counts {
                    0
                } else {
                    decimals(summary.mean)
                };
                let number = summary.text(decimals);
                match first.filter(|_| index > 0) {
                    None => number,
                    Some(first) => format!("{number} ({:.2})", summary.mean / first),
                }
            });
            table.add_row([row.title.clone()].into_iter().chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let seeds = match self.seeds.len() {
            1 => "One seed.".to_owned(),
            count => format!("Mean ± standard deviation over {count} seeds."),
        };
        format!(
            "# {}\n\n{seeds} In brackets: the ratio to the first model. Squared errors are of intensities in\n\
             [0, 1]. Times were taken of all models in turns, in one run, with the first seed.\n\n{table}\n",
            self.title
        )
    }

    fn summary(&self, model: &str, row: &Row) -> Option<Summary> {
        let of = |fit: &&FitResult| fit.model == model && fit.mask == row.mask;
        let values: Vec<f64> = (self.fits.iter().filter(of))
            .filter_map(|fit| (row.value)(fit))
            .collect();
        Summary::of(&values)
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut row = |title: String, mask, value| {
            rows.push(Row {
                title,
                mask,
                value,
                counts: false,
            });
        };
        for (score, title) in [("log_joint", "log joint"), ("local_score", "local score")] {
            let auprc = move |fit: &FitResult| fit.auprc.get(score).copied();
            row(
                format!("detection, AUPRC of the {title}"),
                None,
                Box::new(auprc) as Box<_>,
            );
        }
        let error = |fit: &FitResult| Some(fit.squared_error);
        let frechet = |fit: &FitResult| Some(fit.frechet);
        row(
            "reconstruction, squared error".to_owned(),
            None,
            Box::new(error),
        );
        for &mask in &self.masks {
            let title = format!("recovery, squared error, {mask}");
            row(title, Some(mask), Box::new(error));
        }
        let synthesis = "synthesis, Fréchet distance of edges";
        row(synthesis.to_owned(), None, Box::new(frechet));
        for &mask in &self.masks {
            let title = format!("{synthesis}, learned with {mask}");
            row(title, Some(mask), Box::new(frechet));
        }
        let batch = self.costs().map_or(0, |costs| costs.batch);
        let cost = |of: fn(&Costs) -> f64| {
            Box::new(move |fit: &FitResult| fit.costs.as_ref().map(of)) as Box<_>
        };
        let title = format!("seconds an epoch, batches of {batch}");
        row(title, None, cost(|costs| costs.epoch_s));
        let title = format!("ms to sample {batch} images");
        row(title, None, cost(|costs| costs.sample_batch_ms));
        for part in PARTS {
            let count =
                move |fit: &FitResult| Some(*fit.costs.as_ref()?.parameters.get(part)? as f64);
            rows.push(Row {
                title: format!("parameters, {part}"),
                mask: None,
                value: Box::new(count),
                counts: true,
            });
        }
        rows
    }

    fn costs(&self) -> Option<&Costs> {
        self.fits.iter().find_map(|fit| fit.costs.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn fit(model: &str, seed: u64, mask: Option<Mask>, error: f64) -> FitResult {
        let parts = if model == "flow" { &PARTS[..2] } else { &PARTS };
        FitResult {
            dataset: "strokes".to_owned(),
            holdout: "1".to_owned(),
            model: model.to_owned(),
            seed,
            mask,
            changes: Vec::new(),
            steps: 1,
            images: 2,
            samples: 2,
            auprc: BTreeMap::from([("log_joint".to_owned(), 0.8)]),
            squared_error: error,
            frechet: 5.0 * error,
            costs: (seed == 0 && mask.is_none()).then(|| Costs {
                batch: 256,
                epoch_s: 12.0,
                sample_batch_ms: 3.0,
                parameters: parts
                    .iter()
                    .map(|part| ((*part).to_owned(), 1234))
                    .collect(),
            }),
        }
    }

    #[test]
    fn ratios_are_of_means_to_the_first_model() {
        let mask: Mask = "region:0.5".parse().unwrap();
        let report = Report {
            title: "strokes".to_owned(),
            seeds: vec![0, 1],
            masks: vec![mask],
            models: vec!["flow".to_owned(), "other".to_owned()],
            fits: vec![
                fit("flow", 0, None, 0.02),
                fit("flow", 0, Some(mask), 0.04),
                fit("other", 0, None, 0.03),
                fit("other", 0, Some(mask), 0.06),
                fit("flow", 1, None, 0.04),
                fit("flow", 1, Some(mask), 0.04),
                fit("other", 1, None, 0.03),
                fit("other", 1, Some(mask), 0.10),
            ],
        };
        let text = report.markdown();
        let row = |title: &str| {
            let line = text.lines().find(|line| line.contains(title)).unwrap();
            line.split('|')
                .map(str::trim)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert!(text.contains("over 2 seeds"), "{text}");
        let expected = ["0.03000 ±0.01414", "0.03000 ±0.00000 (1.00)"];
        assert_eq!(row("reconstruction")[2..4], expected);
        let expected = ["0.04000 ±0.00000", "0.08000 ±0.02828 (2.00)"];
        assert_eq!(row("recovery, squared error, region:0.5")[2..4], expected);
        assert_eq!(row("synthesis")[2], "0.150 ±0.071");
        let expected = ["0.200 ±0.000", "0.400 ±0.141 (2.00)"];
        assert_eq!(row("learned with region:0.5")[2..4], expected);
        assert_eq!(row("seconds")[2..4], ["12.0", "12.0 (1.00)"]);
        assert_eq!(row("sample 256 images")[2], "3.000");
        assert_eq!(row("parameters, prior")[2..4], ["1234", "1234 (1.00)"]);
        assert_eq!(row("parameters, encoder")[2..4], ["-", "1234"]);
        assert_eq!(row("local score")[2], "-");
    }
}
