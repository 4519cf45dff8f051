//! The search for the highest throughput.

use std::pin::Pin;

use anyhow::{Context, ensure};
use lfbm_wire::Priority;
use serde_json::{Value, json};
use tonic::Code;

use super::load::{Load, Pace};
use super::measurement::{Answers, Measurement};
use super::report::{COUNTS, quantiles_json, quantiles_ms, quantiles_table};

/// Throughput has stopped growing when so many loads in a row add less than this share.
const GROWTH: f64 = 0.03;
const PATIENCE: usize = 2;
const HIGHEST_CONCURRENCY: usize = 1024;

/// Closed loops, each of twice the concurrency of the one before.
pub(super) struct Capacity {
    levels: Vec<Level>,
    /// Which of them had the highest throughput.
    best: usize,
}

struct Level {
    concurrency: usize,
    measurement: Measurement,
}

impl Level {
    fn goodput_per_s(&self) -> f64 {
        self.measurement.goodput_per_s()
    }

    fn ok(&self) -> Option<&Answers> {
        let key = (Priority::Interactive, Code::Ok.into());
        self.measurement.answers.get(&key)
    }
}

impl Capacity {
    /// Raises the load until throughput stops growing, or until `stop`.
    ///
    /// # Errors
    /// When nothing was measured or no request succeeded.
    pub(super) async fn find(
        load: &Load,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<Self> {
        let mut levels: Vec<Level> = Vec::new();
        let (mut highest, mut since_growth) = (0.0_f64, 0);
        let mut concurrency = 1;
        while since_growth < PATIENCE && concurrency <= HIGHEST_CONCURRENCY {
            let pace = Pace::Closed { concurrency };
            let measurement = load.run(pace, stop.as_mut()).await?;
            if measurement.stopped.is_some() {
                break;
            }
            let goodput = measurement.goodput_per_s();
            since_growth = if goodput > (1.0 + GROWTH) * highest {
                0
            } else {
                since_growth + 1
            };
            highest = highest.max(goodput);
            levels.push(Level {
                concurrency,
                measurement,
            });
            concurrency *= 2;
        }
        let best = levels
            .iter()
            .position(|level| level.goodput_per_s() >= highest)
            .context("stopped before the first load was measured")?;
        ensure!(highest > 0.0, "no request succeeded");
        Ok(Self { levels, best })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut table = quantiles_table(&["at once"], &COUNTS);
        for level in &self.levels {
            let ok = level.ok();
            let mut row = vec![
                level.concurrency.to_string(),
                ok.map_or(0, |ok| ok.latency.len()).to_string(),
                format!("{:.1}", level.goodput_per_s()),
            ];
            row.extend(ok.into_iter().flat_map(|ok| quantiles_ms(&ok.latency)));
            table.add_row(row);
        }
        let best = &self.levels[self.best];
        format!(
            "{table}\n\ncapacity {:.1}/s, at {} at once",
            best.goodput_per_s(),
            best.concurrency
        )
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let levels = self.levels.iter().map(|level| {
            json!({
                "concurrency": level.concurrency,
                "goodput_per_s": level.goodput_per_s(),
                "latency_s": level.ok().map(|ok| quantiles_json(&ok.latency)),
            })
        });
        let best = &self.levels[self.best];
        json!({
            "capacity_per_s": best.goodput_per_s(),
            "concurrency": best.concurrency,
            "levels": levels.collect::<Vec<_>>(),
        })
    }
}
