//! `trainer sweep`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::sweep::{Cell, CellResult, Sweep, table};

/// Arguments of `trainer sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// The TOML file that says which fits
    file: PathBuf,
    /// The folder of bundles, logs, checkpoints and results
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set's files; without it LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N, as `fit` takes it
    #[arg(long, default_value = "auto")]
    device: String,
    /// Fits side by side; they share the processor's cores
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Run this cell alone, counted from 0: for a job that is started once a cell
    #[arg(long, conflicts_with_all = ["jobs", "table_only"])]
    cell: Option<usize>,
    /// Run nothing; print the table of what is there
    #[arg(long)]
    table_only: bool,
}

/// Fits and evaluates every cell that has no result yet, and prints the table. What was
/// interrupted goes on from its checkpoint.
///
/// # Errors
/// When the file describes no sweep, or a cell fails; the others are run all the same.
pub fn run(args: &SweepArgs) -> anyhow::Result<()> {
    let sweep = Sweep::read(&args.file)?;
    let cells = sweep.cells();
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    if let Some(index) = args.cell {
        let cell = cells
            .get(index)
            .with_context(|| format!("there is no cell {index}; there are {}", cells.len()))?;
        return run_cell(args, &sweep, cell, None);
    }
    if !args.table_only {
        run_all(args, &sweep, &cells)?;
    }
    let results = cells
        .iter()
        .filter_map(|cell| read_result(args, cell).transpose())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let lines: Vec<String> = results
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    write_whole(&args.out.join("results.jsonl"), &(lines.join("\n") + "\n"))?;
    println!("{}", table(&sweep, &results));
    Ok(())
}

fn run_all(args: &SweepArgs, sweep: &Sweep, cells: &[Cell]) -> anyhow::Result<()> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let threads = (cores / args.jobs).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = run_cell(args, sweep, cell, Some(threads)) {
                eprintln!("{}: {error:#}", cell.name());
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
    ensure!(
        failed.is_empty(),
        "{} of {} cells failed: {}; the same command tries them again",
        failed.len(),
        cells.len(),
        failed.join(", ")
    );
    Ok(())
}

/// Does what a cell still lacks: the fit, or the evaluation, or nothing.
fn run_cell(
    args: &SweepArgs,
    sweep: &Sweep,
    cell: &Cell,
    threads: Option<u32>,
) -> anyhow::Result<()> {
    let name = cell.name();
    if read_result(args, cell)?.is_some() {
        eprintln!("{name}: finished");
        return Ok(());
    }
    let bundle = args.out.join(&name);
    let checkpoint = bundle.with_added_extension("checkpoint");
    let log = bundle.with_added_extension("log");
    let command = |subcommand: &str| -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(subcommand);
        let log = File::options().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("the log of {name} cannot be opened"))?;
        command.stdin(Stdio::null()).stderr(log);
        if let Some(threads) = threads {
            command.env("OMP_NUM_THREADS", threads.to_string());
        }
        Ok(command)
    };
    let data_dir = |command: &mut Command| {
        if let Some(folder) = &args.data_dir {
            command.arg("--data-dir").arg(folder);
        }
    };
    if !bundle.is_dir() {
        eprintln!("{name}: fitting");
        let mut fit = command("fit")?;
        let dataset = sweep.dataset.to_possible_value();
        fit.arg("--dataset")
            .arg(dataset.map_or_else(String::new, |value| value.get_name().to_owned()))
            .args([
                "--holdout",
                &cell.holdout,
                "--device",
                &args.device,
                "--name",
                &name,
            ])
            .arg("--out")
            .arg(&bundle);
        data_dir(&mut fit);
        let (seed, split) = (cell.seed, cell.seed);
        let seeds = [
            format!("seed={seed}"),
            format!("calibration.split_seed={split}"),
        ];
        for change in sweep.settings[&cell.settings].iter().chain(&seeds) {
            fit.args(["--set", change]);
        }
        if checkpoint.is_file() {
            fit.arg("--resume");
        }
        run_logged(&mut fit, &log)?;
        ensure!(
            bundle.is_dir(),
            "the fit was stopped before its end; see {}",
            log.display()
        );
    }
    eprintln!("{name}: evaluating");
    let mut evaluate = command("evaluate")?;
    evaluate.arg(&bundle).arg("--json");
    data_dir(&mut evaluate);
    let result = CellResult {
        settings: cell.settings.clone(),
        holdout: cell.holdout.clone(),
        seed: cell.seed,
        evaluation: serde_json::from_slice(&run_logged(&mut evaluate, &log)?)?,
    };
    write_whole(&result_file(args, cell), &serde_json::to_string(&result)?)
}

/// Runs to the end and gives what it prints.
fn run_logged(command: &mut Command, log: &Path) -> anyhow::Result<Vec<u8>> {
    let output = command
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|child| child.wait_with_output())?;
    if !output.status.success() {
        bail!("{}; see {}", output.status, log.display());
    }
    Ok(output.stdout)
}

fn result_file(args: &SweepArgs, cell: &Cell) -> PathBuf {
    args.out.join(cell.name()).with_added_extension("json")
}

fn read_result(args: &SweepArgs, cell: &Cell) -> anyhow::Result<Option<CellResult>> {
    let path = result_file(args, cell);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let result = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    Ok(Some(result))
}

/// To a temporary name first: a file is there whole or not at all.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = path.with_added_extension("new");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| path.display().to_string())
}
