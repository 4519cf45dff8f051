//! What a fitted bundle is measured by, for commands of many fits: each report is made once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::steps::Steps;
use crate::data::DatasetName;

/// Images that a measure is of: one alone has no spread.
const MEASURED: RangeInclusive<u32> = 2..=1_000_000;

/// Of how many images a bundle's measures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Images that are reconstructed or recovered.
    pub images: u32,
    /// Samples of the prior, compared with as many real images.
    pub samples: u32,
}

impl Counts {
    /// Rejects numbers that the measuring commands refuse.
    pub(super) fn check(self) -> Result<(), String> {
        for (name, count) in [("images", self.images), ("samples", self.samples)] {
            if !MEASURED.contains(&count) {
                let (least, most) = (MEASURED.start(), MEASURED.end());
                return Err(format!("{name} is {count}, expected {least} to {most}"));
            }
        }
        Ok(())
    }
}

/// How the bundles of a plan are measured.
pub(super) struct Measurement<'a> {
    pub(super) steps: &'a Steps<'a>,
    pub(super) dataset: DatasetName,
    pub(super) holdout: &'a str,
    pub(super) counts: Counts,
    /// Langevin steps of reconstruction and recovery; by default the task's.
    pub(super) langevin_steps: Option<u32>,
}

/// The task that measures a squared error.
#[derive(Clone, Copy)]
pub(super) enum Task {
    /// Of reconstructed test images.
    Reconstruct,
    /// Of the hidden values of images that were fitted incomplete.
    Recover,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Reconstruct => "reconstruct",
            Self::Recover => "recover",
        }
    }
}

impl Measurement<'_> {
    /// Areas under the precision-recall curve, by score.
    pub(super) fn auprc(&self, bundle: &str) -> anyhow::Result<BTreeMap<String, f64>> {
        let report = self.report(bundle, "evaluate", "evaluate", &[])?;
        let metrics = report["metrics"].as_object().into_iter().flatten();
        let auprc = metrics
            .filter_map(|(score, metrics)| Some((score.clone(), metrics["auprc"].as_f64()?)));
        Ok(auprc.collect())
    }

    /// The mean squared error of intensities in [0, 1].
    pub(super) fn squared_error(&self, bundle: &str, task: Task) -> anyhow::Result<f64> {
        let images = self.counts.images.to_string();
        let steps = self.langevin_steps.map(|steps| steps.to_string());
        let mut more = vec!["--count", &images];
        let mut kind = format!("{}-{images}", task.name());
        if let Some(steps) = &steps {
            more.extend(["--steps", steps]);
            kind = format!("{kind}-{steps}");
        }
        let report = self.report(bundle, &kind, task.name(), &more)?;
        let error = report["mean_squared_error"]["best_chain"].as_f64();
        error.context("a report has no mean squared error")
    }

    /// The Fréchet distance of samples to real images, by `trainer fid` without a network.
    pub(super) fn frechet(&self, bundle: &str) -> anyhow::Result<f64> {
        let (dataset, samples) = (self.dataset.to_string(), self.counts.samples.to_string());
        let mut more = vec!["--dataset", &dataset, "--holdout", self.holdout];
        more.extend(["--count", &samples]);
        let report = self.report(bundle, &format!("fid-{samples}"), "fid", &more)?;
        report["fid"].as_f64().context("a report has no fid")
    }

    /// The report of a task, made once for each `kind`, which names its file with all that it depends on.
    fn report(&self, bundle: &str, kind: &str, task: &str, more: &[&str]) -> anyhow::Result<Value> {
        self.steps.once(&format!("{bundle}.{kind}"), || {
            eprintln!("{bundle}: {task}");
            self.steps.report(bundle, task, more)
        })
    }
}
