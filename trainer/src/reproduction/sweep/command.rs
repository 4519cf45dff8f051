//! `trainer sweep`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use clap::Args;
use lfbm_process::{one_line, print_line};

use super::{Cell, CellResult, Sweep, draw_vary, kept, tables};
use crate::output::prepare_folder;
use crate::reproduction::kept::{Kept, check_place};
use crate::reproduction::measurement::Measurement;
use crate::reproduction::plan::are_classes;
use crate::reproduction::steps::{Steps, write_whole};
use crate::stop;

/// Arguments of `trainer sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// The TOML file that describes the fits
    file: PathBuf,
    /// The folder of bundles, logs, checkpoints and results
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set's files; by default LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N, as `fit` takes it
    #[arg(long, default_value = "auto")]
    device: String,
    /// Concurrent fits, which share the CPU's cores
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Run only this cell, counted from 0, for schedulers that start one job per cell
    #[arg(long, conflicts_with_all = ["jobs", "table_only"])]
    cell: Option<usize>,
    /// Run nothing; print the table of the results so far
    #[arg(long)]
    table_only: bool,
}

/// Fits and evaluates every cell that has no result yet, here or beside the plan, and prints the table. Interrupted
/// fits resume from their checkpoints.
///
/// # Errors
/// When the file does not describe a sweep, or a cell fails; the other cells still run.
pub fn run(args: &SweepArgs) -> anyhow::Result<()> {
    let sweep = Sweep::read(&args.file)?;
    let (kept, cells) = (kept::read(&sweep)?, sweep.cells());
    if !args.table_only {
        are_classes(sweep.dataset, args.data_dir.as_deref(), &sweep.holdouts)?;
    }
    prepare_folder(&args.out)?;
    check_place(sweep.results.as_deref(), &args.out)?;
    if let Some(index) = args.cell {
        let cell = cells
            .get(index)
            .with_context(|| format!("there is no cell {index}; there are {}", cells.len()))?;
        return run_cell(args, &sweep, &kept, cell, None);
    }
    if !args.table_only {
        run_all(args, &sweep, &kept, &cells)?;
    }
    let result = |cell: &Cell| match kept.of(&cell.name()) {
        Some(result) => Ok(Some(result.clone())),
        None => known(&steps(args, None), &sweep, &cell.name()),
    };
    let results = cells
        .iter()
        .filter_map(|cell| result(cell).transpose())
        .collect::<anyhow::Result<Vec<CellResult>>>()?;
    let lines: Vec<String> = results
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    write_whole(&args.out.join("results.jsonl"), &(lines.join("\n") + "\n"))?;
    for vary in &sweep.vary {
        for measure in &vary.measures {
            let path = args.out.join(vary.picture(*measure));
            draw_vary(&path, &sweep, vary, *measure, &results)?;
        }
    }
    let tables = tables(&sweep, &results);
    let tables: Vec<_> = tables.iter().map(ToString::to_string).collect();
    print_line(tables.join("\n\n"))?;
    Ok(())
}

fn run_all(
    args: &SweepArgs,
    sweep: &Sweep,
    kept: &Kept<CellResult>,
    cells: &[Cell],
) -> anyhow::Result<()> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = (cores / args.jobs).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop::requested().is_some() {
                break;
            }
            if let Err(error) = run_cell(args, sweep, kept, cell, Some(threads)) {
                eprintln!("{}: {}", cell.name(), one_line(error.as_ref()));
                failed.push(cell.name());
            }
        }
        failed
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    if let Some(stopped) = stop::requested() {
        bail!(stopped);
    }
    ensure!(
        failed.is_empty(),
        "{} of {} cells failed: {}; the same command tries them again",
        failed.len(),
        cells.len(),
        failed.join(", ")
    );
    Ok(())
}

/// Runs the missing steps of a cell: the fit and the evaluation.
fn run_cell(
    args: &SweepArgs,
    sweep: &Sweep,
    kept: &Kept<CellResult>,
    cell: &Cell,
    threads: Option<u32>,
) -> anyhow::Result<()> {
    let name = cell.name();
    if kept.of(&name).is_some() {
        eprintln!("{name}: known");
        return Ok(());
    }
    let steps = steps(args, threads);
    let changes = sweep.changes(cell).context("the cell is of another plan")?;
    let fit = || steps.fit(&name, sweep.dataset, &cell.holdout, &changes);
    let mut result = match known(&steps, sweep, &name)? {
        Some(result) => result,
        None => {
            fit()?;
            eprintln!("{name}: evaluating");
            let result = CellResult {
                dataset: sweep.dataset.to_string(),
                settings: cell.settings.clone(),
                holdout: cell.holdout.clone(),
                seed: cell.seed,
                changes: changes.clone(),
                evaluation: steps.report(&name, "evaluate", &[])?,
                counts: None,
                measures: BTreeMap::new(),
            };
            steps.keep(&name, &result)?;
            result
        }
    };
    let measurement = Measurement {
        steps: &steps,
        dataset: sweep.dataset,
        holdout: &cell.holdout,
        counts: sweep.counts(),
        langevin_steps: None,
    };
    for measure in sweep.measures(&cell.settings) {
        if result.value(measure).is_none() {
            // Of an earlier run only the result may be left.
            fit()?;
            let value = measure.measured(&measurement, &name)?;
            result.counts = Some(sweep.counts());
            result.measures.extend(value.map(|value| (measure, value)));
            steps.keep(&name, &result)?;
        }
    }
    eprintln!("{name}: finished");
    Ok(())
}

/// The result of an earlier run into the same folder, without measures of other numbers of images.
fn known(steps: &Steps, sweep: &Sweep, name: &str) -> anyhow::Result<Option<CellResult>> {
    let mut result: Option<CellResult> = steps.result(name)?;
    if let Some(result) = &mut result {
        kept::check(sweep, result).with_context(|| {
            let place = steps.out.join(name).with_added_extension("json");
            format!("{}: remove it, or name another --out", place.display())
        })?;
        if result.counts != Some(sweep.counts()) {
            result.measures.clear();
        }
    }
    Ok(result)
}

fn steps(args: &SweepArgs, threads: Option<u32>) -> Steps<'_> {
    Steps {
        out: &args.out,
        data_dir: args.data_dir.as_deref(),
        device: &args.device,
        threads,
    }
}
