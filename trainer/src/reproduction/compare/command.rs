//! `trainer compare`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lfbm_bundle::Bundle;
use lfbm_process::print_line;

use super::result::{FitResult, kept};
use super::{Comparison, Costs, Fit, Report, costs};
use crate::commands::fitted::fitted_images;
use crate::data::{ChangedDataArg, SkipDamagedArg};
use crate::device::DeviceChoice;
use crate::output::prepare_folder;
use crate::reproduction::kept::{Kept, check_place};
use crate::reproduction::measurement::{Measurement, Task};
use crate::reproduction::plan::are_classes;
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

/// Fits every model on whole images and under every mask with every seed, measures its images, and reports the
/// models side by side: `report.json`, `report.md`, and `results.jsonl` with a line a fit. Existing results, there
/// or beside the plan, are kept.
///
/// # Errors
/// When the file does not describe a comparison, or a step fails.
pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let plan = Comparison::read(&args.file)?;
    are_classes(plan.dataset, args.data_dir.as_deref(), [&plan.holdout])?;
    let kept = kept(&plan)?;
    prepare_folder(&args.out)?;
    check_place(plan.results.as_deref(), &args.out)?;
    let device = args.device.to_string();
    let steps = Steps {
        out: &args.out,
        data_dir: args.data_dir.as_deref(),
        device: &device,
        threads: None,
    };
    let mut fits = Vec::new();
    for fit in plan.fits() {
        fits.push(match kept.of(&fit.name()) {
            Some(result) => result.clone(),
            None => measure(&steps, &plan, &fit)?,
        });
    }
    let mut costs = known_costs(args, &plan, &steps, &kept)?;
    for fit in &mut fits {
        let is_first = fit.mask.is_none() && plan.seeds.first() == Some(&fit.seed);
        fit.costs = is_first.then(|| costs.remove(&fit.model)).flatten();
    }
    let lines = fits.iter().map(serde_json::to_string);
    let lines = lines.collect::<Result<Vec<_>, _>>()?.join("\n") + "\n";
    write_whole(&args.out.join("results.jsonl"), &lines)?;
    let report = Report {
        title: format!(
            "{} without {}, {} models",
            plan.dataset,
            plan.holdout,
            plan.models.len()
        ),
        models: plan.models.into_iter().map(|model| model.name).collect(),
        seeds: plan.seeds,
        masks: plan.masks,
        fits,
    };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    write_whole(&args.out.join("report.json"), &json)?;
    let markdown = report.markdown();
    write_whole(&args.out.join("report.md"), &markdown)?;
    print_line(&markdown)?;
    Ok(())
}

/// All results of a fit but its costs.
fn measure(steps: &Steps, plan: &Comparison, fit: &Fit) -> anyhow::Result<FitResult> {
    let (name, changes) = (fit.name(), plan.changes(fit));
    steps.fit(&name, plan.dataset, &plan.holdout, &changes)?;
    let inference = plan.settings(fit)?.learning.inference;
    let measurement = Measurement {
        steps,
        dataset: plan.dataset,
        holdout: &plan.holdout,
        counts: plan.counts(),
        langevin_steps: (inference == InferenceName::Langevin).then_some(plan.steps),
    };
    let (auprc, task) = match fit.mask {
        None => (measurement.auprc(&name)?, Task::Reconstruct),
        Some(_) => (BTreeMap::new(), Task::Recover),
    };
    Ok(FitResult {
        dataset: plan.dataset.to_string(),
        holdout: plan.holdout.clone(),
        model: fit.model.name.clone(),
        seed: fit.seed,
        mask: fit.mask,
        changes,
        steps: plan.steps,
        images: plan.images,
        samples: plan.samples,
        auprc,
        squared_error: measurement.squared_error(&name, task)?,
        frechet: measurement.frechet(&name)?,
        costs: None,
    })
}

/// Costs by model: those of earlier runs if they are of all models and of the plan's batches, because times compare
/// only within one run; measured otherwise.
fn known_costs(
    args: &CompareArgs,
    plan: &Comparison,
    steps: &Steps,
    kept: &Kept<FitResult>,
) -> anyhow::Result<BTreeMap<String, Costs>> {
    let of_plan = |known: &BTreeMap<String, Costs>| {
        let mut models = plan.models.iter().map(|model| known.get(&model.name));
        models.all(|costs| costs.is_some_and(|costs| costs.batch == plan.timing_batch))
    };
    let beside: BTreeMap<_, _> = (plan.models.iter())
        .filter_map(|model| Some((model.name.clone(), kept.of(&plan.timed(model).name())?)))
        .filter_map(|(name, result)| Some((name, result.costs.clone()?)))
        .collect();
    if of_plan(&beside) {
        return Ok(beside);
    }
    if let Some(known) = steps.result("costs")?.filter(of_plan) {
        return Ok(known);
    }
    let measured = measure_costs(args, plan, steps)?;
    steps.keep("costs", &measured)?;
    Ok(measured)
}

fn measure_costs(
    args: &CompareArgs,
    plan: &Comparison,
    steps: &Steps,
) -> anyhow::Result<BTreeMap<String, Costs>> {
    let fits: Vec<Fit> = plan.models.iter().map(|model| plan.timed(model)).collect();
    let mut bundles = Vec::with_capacity(fits.len());
    for fit in &fits {
        // A result beside the plan has no bundle.
        bundles.push(steps.fit(&fit.name(), plan.dataset, &plan.holdout, &plan.changes(fit))?);
    }
    eprintln!("timing all models in turns");
    let mut models = Vec::with_capacity(fits.len());
    for (fit, bundle) in fits.iter().zip(&bundles) {
        models.push((plan.settings(fit)?, bundle.as_path()));
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
    let device = args.device.resolve()?;
    let costs = costs(&models, &dataset, &split, plan.timing_batch, device)?;
    let names = fits.iter().map(|fit| fit.model.name.clone());
    Ok(names.zip(costs).collect())
}
