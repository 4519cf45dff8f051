//! The report of a comparison.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::timing::{SAMPLED, Timing};

/// The results of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Its name.
    pub name: String,
    /// Areas under the precision-recall curve, by score.
    pub auprc: BTreeMap<String, f64>,
    /// Mean squared error of reconstructed test images, intensities in [0, 1].
    pub reconstruction_mse: f64,
    /// Mean squared error of recovered hidden values, intensities in [0, 1], by mask in the order
    /// of the plan.
    pub recovery_mse: Vec<f64>,
    /// Fréchet distance of samples to real images, by `trainer fid` without a network.
    pub frechet: f64,
    /// The costs of learning and sampling.
    pub timing: Timing,
}

/// Models side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The data set, and the class that was held out.
    pub title: String,
    /// The masks.
    pub masks: Vec<String>,
    /// The models; ratios are to the first.
    pub models: Vec<ModelResult>,
}

/// A row: its title, and its value for a model.
type Row = (String, Box<dyn Fn(&ModelResult) -> f64>);

impl Report {
    /// As Markdown: a column per model, with its ratio to the first in brackets.
    pub fn markdown(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let names = self.models.iter().map(|model| model.name.clone());
        table.set_header([String::new()].into_iter().chain(names));
        for (title, value) in self.rows() {
            let first = self.models.first().map_or(f64::NAN, &value);
            let cells = self.models.iter().enumerate().map(|(index, model)| {
                let value = value(model);
                let number = format!("{value:.*}", decimals(value));
                if index == 0 {
                    number
                } else {
                    format!("{number} ({:.2})", value / first)
                }
            });
            table.add_row([title].into_iter().chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!(
            "# {}\n\nIn brackets: the ratio to the first model. Squared errors are of intensities in \
             [0, 1]. Times were\ntaken of all models in turns, in one run.\n\n{table}\n",
            self.title
        )
    }

    fn rows(&self) -> Vec<Row> {
        let auprc = |name: &'static str| -> Box<dyn Fn(&ModelResult) -> f64> {
            Box::new(move |model| model.auprc.get(name).copied().unwrap_or(f64::NAN))
        };
        let mut rows: Vec<Row> = vec![
            (
                "detection, AUPRC of the log joint".to_owned(),
                auprc("log_joint"),
            ),
            (
                "detection, AUPRC of the local score".to_owned(),
                auprc("local_score"),
            ),
            (
                "reconstruction, squared error".to_owned(),
                Box::new(|model| model.reconstruction_mse),
            ),
        ];
        for (index, mask) in self.masks.iter().enumerate() {
            rows.push((
                format!("recovery, squared error, {mask}"),
                Box::new(move |model| model.recovery_mse[index]),
            ));
        }
        rows.push((
            "synthesis, Fréchet distance of edges".to_owned(),
            Box::new(|model| model.frechet),
        ));
        rows.push((
            "seconds an epoch".to_owned(),
            Box::new(|model| model.timing.epoch_s),
        ));
        rows.push((
            format!("ms to sample {SAMPLED} images"),
            Box::new(|model| model.timing.sample_batch_ms),
        ));
        rows
    }
}

/// Decimals for three or four significant digits.
fn decimals(value: f64) -> usize {
    if value < 0.1 {
        5
    } else if value < 10.0 {
        3
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first_model() {
        let model = |name: &str, mse| ModelResult {
            name: name.to_owned(),
            auprc: BTreeMap::from([("log_joint".to_owned(), 0.8)]),
            reconstruction_mse: mse,
            recovery_mse: vec![2.0 * mse],
            frechet: 5.0 * mse,
            timing: Timing {
                epoch_s: 12.0,
                sample_batch_ms: 3.0,
            },
        };
        let report = Report {
            title: "strokes".to_owned(),
            masks: vec!["region:0.5".to_owned()],
            models: vec![model("flow", 0.02), model("other", 0.03)],
        };
        let text = report.markdown();
        let row = |title: &str| {
            let line = text.lines().find(|line| line.contains(title)).unwrap();
            line.split('|')
                .map(str::trim)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(row("reconstruction")[2..4], ["0.02000", "0.03000 (1.50)"]);
        assert_eq!(row("region:0.5")[2..4], ["0.04000", "0.06000 (1.50)"]);
        assert_eq!(row("synthesis")[2..4], ["0.100", "0.150 (1.50)"]);
        assert_eq!(row("seconds")[2..4], ["12.0", "12.0 (1.00)"]);
        assert_eq!(row("local score")[2], "NaN");
    }
}
