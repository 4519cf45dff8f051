//! Steps of commands that run others: each step is a `trainer` process with a log of its own, and a
//! step whose result exists is skipped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use lfbm_bundle::Bundle;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::DatasetName;
use crate::record::TrainingRecord;
use crate::settings::Settings;
use crate::stop::{self, Follower};

/// The folder of the steps, and their shared options.
pub(super) struct Steps<'a> {
    /// The folder of bundles, logs, checkpoints and results.
    pub(super) out: &'a Path,
    pub(super) data_dir: Option<&'a Path>,
    /// As `trainer fit --device` takes it.
    pub(super) device: &'a str,
    /// Threads of a step; by default one per core.
    pub(super) threads: Option<u32>,
}

impl Steps<'_> {
    /// Fits the bundle `name` under `changes`, unless it exists; an interrupted fit is resumed.
    ///
    /// # Errors
    /// When the fit fails, or what exists was fitted otherwise.
    pub(super) fn fit(
        &self,
        name: &str,
        dataset: DatasetName,
        holdout: &str,
        changes: &[String],
    ) -> anyhow::Result<PathBuf> {
        let bundle = self.out.join(name);
        if bundle.is_dir() {
            check_fit(&bundle, dataset, holdout, changes)?;
            return Ok(bundle);
        }
        eprintln!("{name}: fitting");
        let mut fit = self.command(name, "fit")?;
        fit.args(["--dataset", &dataset.to_string(), "--holdout", holdout])
            .args(["--device", self.device, "--name", name])
            .arg("--out")
            .arg(&bundle);
        for change in changes {
            fit.args(["--set", change]);
        }
        if bundle.with_added_extension("checkpoint").is_file() {
            fit.arg("--resume");
        }
        self.run(name, &mut fit)?;
        ensure!(
            bundle.is_dir(),
            "the fit did not finish; see {}",
            self.log(name).display()
        );
        Ok(bundle)
    }

    /// The output of `trainer SUBCOMMAND BUNDLE --json MORE` for the bundle `name`.
    pub(super) fn report<T: DeserializeOwned>(
        &self,
        name: &str,
        subcommand: &str,
        more: &[&str],
    ) -> anyhow::Result<T> {
        let mut command = self.command(name, subcommand)?;
        command.arg(self.out.join(name)).arg("--json").args(more);
        Ok(serde_json::from_slice(&self.run(name, &mut command)?)?)
    }

    fn command(&self, name: &str, subcommand: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(subcommand);
        if let Some(folder) = self.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(name));
        let log = log.with_context(|| format!("the log of {name} cannot be opened"))?;
        command.stdin(Stdio::null()).stderr(log);
        if let Some(threads) = self.threads {
            command.env("OMP_NUM_THREADS", threads.to_string());
        }
        Ok(command)
    }

    /// Runs to the end and returns the output.
    fn run(&self, name: &str, command: &mut Command) -> anyhow::Result<Vec<u8>> {
        // A signal waits for the step, which receives it too and saves its work.
        let _held = stop::hold();
        let (child, _follower) = Follower::spawn(command.stdout(Stdio::piped()))?;
        let output = child.wait_with_output()?;
        if let Some(stopped) = stop::requested() {
            bail!(stopped);
        }
        if !output.status.success() {
            bail!("{}; see {}", output.status, self.log(name).display());
        }
        Ok(output.stdout)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.out.join(name).with_added_extension("log")
    }

    /// The result in `NAME.json`; if it does not exist, that of `make`.
    pub(super) fn once<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if let Some(result) = self.result(name)? {
            return Ok(result);
        }
        let result = make()?;
        self.keep(name, &result)?;
        Ok(result)
    }

    /// Writes the result in `NAME.json`.
    pub(super) fn keep<T: Serialize>(&self, name: &str, result: &T) -> anyhow::Result<()> {
        write_whole(&self.result_file(name), &serde_json::to_string(result)?)
    }

    /// The result in `NAME.json`, if it exists.
    pub(super) fn result<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let path = self.result_file(name);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let result = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        Ok(Some(result))
    }

    fn result_file(&self, name: &str) -> PathBuf {
        self.out.join(name).with_added_extension("json")
    }
}

/// Rejects a bundle that was fitted otherwise: a plan may have changed since.
fn check_fit(
    bundle: &Path,
    dataset: DatasetName,
    holdout: &str,
    changes: &[String],
) -> anyhow::Result<()> {
    let opened = Bundle::open(bundle)?;
    let record = TrainingRecord::read(opened.manifest())?;
    let is_same = record.data.dataset == dataset
        && opened.manifest().classes.held_out == [holdout]
        && record.settings == Some(Settings::load(None, changes)?);
    ensure!(
        is_same,
        "{} was fitted on other data or with other settings than the plan's; remove it, or name another --out",
        bundle.display()
    );
    Ok(())
}

/// Writes under a temporary name first, so that incomplete files never appear.
pub(super) fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    lfbm_atomic_files::write_whole(path, text.as_bytes())
        .with_context(|| path.display().to_string())
}
