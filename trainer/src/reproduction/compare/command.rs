//! `trainer compare`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lfbm_bundle::Bundle;
use lfbm_process::print_line;
use serde_json::Value;

use super::{Comparison, ModelPlan, ModelResult, Report, Timing, time_models};
use crate::commands::fitted::fitted_images;
use crate::data::{ChangedDataArg, Mask, SkipDamagedArg};
use crate::device::DeviceChoice;
use crate::output::prepare_folder;
use crate::reproduction::steps::{Steps, write_whole};
use crate::settings::InferenceName;

/// Arguments of `trainer compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// The TOML file that describes the models
    file: PathBuf,
    /// The folder of bundles, logs, checkpoints, results and the report
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set's files; by default LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N, as `fit` takes it
    #[arg(long, default_value_t)]
    device: DeviceChoice,
}

/// Fits every model on whole images and under every mask, measures its images, and reports the
/// models side by side: `report.json` and `report.md`. Existing results are kept.
///
/// # Errors
/// When the file does not describe a comparison, or a step fails.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let plan = Comparison::read(&args.file)?;
    prepare_folder(&args.out)?;
    let device = args.device.to_string();
    let steps = Steps {
        out: &args.out,
        data_dir: args.data_dir.as_deref(),
        device: &device,
        threads: None,
    };
    let mut measured = Vec::with_capacity(plan.models.len());
    for model in &plan.models {
        measured.push(measure(&steps, &plan, model)?);
    }
    let timings: Vec<Timing> = steps.once("timing", || time(args, &plan))?;
    let models = measured.into_iter().zip(timings);
    let report = Report {
        title: format!(
            "{} without {}, {} models",
            plan.dataset,
            plan.holdout,
            plan.models.len()
        ),
        masks: plan.masks.iter().map(Mask::to_string).collect(),
        models: models.map(|(measured, timing)| measured(timing)).collect(),
    };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    write_whole(&args.out.join("report.json"), &json)?;
    let markdown = report.markdown();
    write_whole(&args.out.join("report.md"), &markdown)?;
    print_line(&markdown)?;
    Ok(())
}

/// All results of a model but its costs.
fn measure(
    steps: &Steps,
    plan: &Comparison,
    model: &ModelPlan,
) -> anyhow::Result<impl FnOnce(Timing) -> ModelResult + use<>> {
    let fit = |mask: Option<&Mask>| -> anyhow::Result<String> {
        let name = plan.bundle_name(model, mask);
        steps.fit(
            &name,
            plan.dataset,
            &plan.holdout,
            &plan.changes(model, mask),
        )?;
        Ok(name)
    };
    let (images, langevin) = (plan.images.to_string(), plan.steps.to_string());
    let mut size = vec!["--count", &images];
    if plan.load(model, None)?.learning.inference == InferenceName::Langevin {
        size.extend(["--steps", &langevin]);
    }
    let report = |name: &str, task: &str, more: &[&str]| -> anyhow::Result<Value> {
        steps.once(&format!("{name}.{task}"), || {
            eprintln!("{name}: {task}");
            steps.report(name, task, more)
        })
    };
    let error = |report: &Value| {
        let error = report["mean_squared_error"]["best_chain"].as_f64();
        error.context("a report has no mean squared error")
    };

    let whole = fit(None)?;
    let evaluation = report(&whole, "evaluate", &[])?;
    let metrics = evaluation["metrics"].as_object();
    let auprc = metrics
        .into_iter()
        .flatten()
        .filter_map(|(score, metrics)| Some((score.clone(), metrics["auprc"].as_f64()?)))
        .collect();
    let reconstruction_mse = error(&report(&whole, "reconstruct", &size)?)?;
    let (dataset, samples) = (plan.dataset.to_string(), plan.samples.to_string());
    let real = [
        "--dataset",
        &dataset,
        "--holdout",
        &plan.holdout,
        "--count",
        &samples,
    ];
    let synthesis = report(&whole, "fid", &real)?;
    let frechet = synthesis["fid"].as_f64().context("a report has no fid")?;
    let mut recovery_mse = Vec::with_capacity(plan.masks.len());
    for mask in &plan.masks {
        let incomplete = fit(Some(mask))?;
        recovery_mse.push(error(&report(&incomplete, "recover", &size)?)?);
    }
    let name = model.name.clone();
    Ok(move |timing| ModelResult {
        name,
        auprc,
        reconstruction_mse,
        recovery_mse,
        frechet,
        timing,
    })
}

fn time(args: &CompareArgs, plan: &Comparison) -> anyhow::Result<Vec<Timing>> {
    eprintln!("timing all models in turns");
    let mut models = Vec::with_capacity(plan.models.len());
    let bundles: Vec<PathBuf> = (plan.models.iter())
        .map(|model| args.out.join(plan.bundle_name(model, None)))
        .collect();
    for (model, bundle) in plan.models.iter().zip(&bundles) {
        models.push((plan.load(model, None)?, bundle.as_path()));
    }
    let first = bundles.first().context("there is no model")?;
    let manifest = Bundle::open(first)?.manifest().clone();
    let folder = args.data_dir.as_deref();
    let (dataset, split) = fitted_images(
        first,
        &manifest,
        folder,
        SkipDamagedArg::default(),
        ChangedDataArg::default(),
    )?;
    time_models(&models, &dataset, &split, args.device.resolve()?)
}
