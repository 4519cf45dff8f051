//! Scores as a table, JSON or CSV.

use anyhow::bail;
use clap::{Args, ValueEnum};
use comfy_table::{Cell, Color, Table};
use lfbm_wire::{ScoreResponse, Verdict};
use serde_json::{Map, Value};

use super::located;
use crate::output::{new_table, print_line, print_table};

const HEADER: [&str; 8] = [
    "image",
    "log p(z)",
    "log p(x|z)",
    "log joint",
    "p-value",
    "local score",
    "local p-value",
    "verdict",
];

/// Fields of models of sites: empty in CSV for other models, absent from their JSON.
const OF_SITES: [&str; 4] = [
    "site_score",
    "site_p_value",
    "map_threshold",
    "region_count",
];

/// Of models of sites.
const SITES_HEADER: [&str; 9] = [
    "image",
    "log p(z)",
    "log p(x|z)",
    "log joint",
    "p-value",
    "site score",
    "site p-value",
    "regions",
    "verdict",
];

#[derive(Args)]
pub(crate) struct FormatArgs {
    /// A table at the end, or a JSON object or a CSV row an image, as soon as it is scored
    /// [default: table, for --frames json]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Prints scores one after the other.
pub(crate) enum Printer {
    Table {
        /// Its columns are those of the first image's model.
        table: Option<Box<Table>>,
        unnormalized: bool,
    },
    Json,
    Csv {
        has_header: bool,
    },
}

impl Printer {
    /// For images whose number is known, or for the frames of a stream, which may have no end.
    ///
    /// # Errors
    /// When frames are to be shown at the end.
    pub(super) fn new(args: &FormatArgs, frames: bool) -> anyhow::Result<Self> {
        let default = if frames { Format::Json } else { Format::Table };
        let format = args.format.unwrap_or(default);
        Ok(match format {
            _ if args.json => Self::Json,
            Format::Json => Self::Json,
            Format::Csv => Self::Csv { has_header: false },
            Format::Table if frames => {
                bail!("--format: expected json or csv with --frames, got table, which needs an end")
            }
            Format::Table => Self::table(),
        })
    }

    /// A table at the end.
    pub(crate) fn table() -> Self {
        Self::Table {
            table: None,
            unnormalized: false,
        }
    }

    /// Takes the score of the next image.
    pub(crate) fn add(&mut self, image: &str, reply: &ScoreResponse) -> anyhow::Result<()> {
        match self {
            Self::Table {
                table,
                unnormalized,
            } => {
                *unnormalized |= reply.prior_unnormalized;
                let table = table.get_or_insert_with(|| Box::new(table_of(reply)));
                table.add_row(row(image, reply));
                Ok(())
            }
            Self::Json => Ok(print_line(Value::Object(score_object(image, reply)))?),
            Self::Csv { has_header } => {
                let (names, values): (Vec<_>, Vec<_>) = fields(image, reply).into_iter().unzip();
                if !*has_header {
                    print_line(names.join(","))?;
                    *has_header = true;
                }
                let values: Vec<_> = values.iter().map(csv_value).collect();
                Ok(print_line(values.join(","))?)
            }
        }
    }

    /// Prints what there is only at the end.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Table {
                table,
                unnormalized,
            } => {
                if let Some(table) = table {
                    print_table(&table)?;
                }
                if unnormalized {
                    print_line(
                        "log p(z) and log joint lack a constant, because the model's prior is \
                         unnormalised: compare them within this model only",
                    )?;
                }
                Ok(())
            }
            Self::Json | Self::Csv { .. } => Ok(()),
        }
    }
}

fn table_of(reply: &ScoreResponse) -> Table {
    match reply.site_score {
        None => new_table(HEADER, 1..7),
        Some(_) => new_table(SITES_HEADER, 1..8),
    }
}

fn row(image: &str, reply: &ScoreResponse) -> Vec<Cell> {
    let color = match reply.verdict() {
        Verdict::Anomalous => Color::Red,
        Verdict::Normal => Color::Green,
        Verdict::Unspecified => Color::Reset,
    };
    let optional = |value: Option<f64>, decimals: usize| {
        Cell::new(value.map_or("-".to_owned(), |value| format!("{value:.decimals$}")))
    };
    let mut row = vec![
        image.into(),
        format!("{:.2}", reply.log_prior).into(),
        format!("{:.2}", reply.log_likelihood).into(),
        format!("{:.2}", reply.log_joint).into(),
        optional(reply.p_value, 4),
        optional(reply.site_score.or(reply.local_score), 2),
        optional(reply.site_p_value.or(reply.local_p_value), 4),
    ];
    if reply.site_score.is_some() {
        row.push(reply.regions.len().into());
    }
    row.push(Cell::new(verdict(reply).unwrap_or("-")).fg(color));
    row
}

/// A score as a JSON object.
pub(crate) fn score_object(image: &str, reply: &ScoreResponse) -> Map<String, Value> {
    let fields = fields(image, reply).into_iter();
    let mut object: Map<String, Value> = fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if reply.site_score.is_some() {
        object.insert("regions".to_owned(), located::regions(reply).into());
    } else {
        object.retain(|name, _| !OF_SITES.contains(&name.as_str()));
    }
    if let Some(map) = &reply.map {
        object.insert("map".to_owned(), located::map(map));
    }
    object
}

/// Fields of JSON and CSV, in the order of CSV columns.
fn fields(image: &str, reply: &ScoreResponse) -> Vec<(&'static str, Value)> {
    let model = reply.model.clone().unwrap_or_default();
    let region_count = reply.site_score.map(|_| reply.regions.len());
    vec![
        ("image", image.into()),
        ("log_joint", reply.log_joint.into()),
        ("log_prior", reply.log_prior.into()),
        ("log_likelihood", reply.log_likelihood.into()),
        ("log_joint_std", reply.log_joint_std.into()),
        ("log_prior_std", reply.log_prior_std.into()),
        ("log_likelihood_std", reply.log_likelihood_std.into()),
        ("p_value", reply.p_value.into()),
        ("local_score", reply.local_score.into()),
        ("local_p_value", reply.local_p_value.into()),
        ("verdict", verdict(reply).into()),
        ("model", model.name.into()),
        ("version", model.version.into()),
        ("queue_s", seconds(reply.queue_time.as_ref()).into()),
        ("compute_s", seconds(reply.compute_time.as_ref()).into()),
        ("prior_unnormalized", reply.prior_unnormalized.into()),
        ("false_alarm_rate", reply.false_alarm_rate.into()),
        ("site_score", reply.site_score.into()),
        ("site_p_value", reply.site_p_value.into()),
        ("map_threshold", reply.map_threshold.into()),
        ("region_count", region_count.into()),
    ]
}

/// RFC 4180: null is empty, and text with a separator is quoted.
fn csv_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn verdict(reply: &ScoreResponse) -> Option<&'static str> {
    match reply.verdict() {
        Verdict::Unspecified => None,
        Verdict::Normal => Some("normal"),
        Verdict::Anomalous => Some("anomalous"),
    }
}

fn seconds(duration: Option<&prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) * 1e-9)
}
