//! The checkpoint of a fit.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use lfbm_model::LayerWeights;
use lfbm_process::one_line;
use serde_json::Value;

use crate::data::Identity;
use crate::export::Run;
use crate::fit::{Learner, read_checkpoint, write_checkpoint};
use crate::output::{is_within, prepare_file, try_room};

/// So many differences between two runs are told.
const TOLD: usize = 3;

/// The checkpoint of a fit.
pub(super) struct Checkpoints {
    path: PathBuf,
    images: Vec<u8>,
    features: Option<Vec<LayerWeights>>,
    /// Path and iteration of the last one.
    saved: Option<(PathBuf, u64)>,
}

impl Checkpoints {
    /// Checkpoints at `path`, of a fit on such images, whose x have learned `features`.
    pub(super) fn new(path: PathBuf, images: &Identity, features: Option<&[LayerWeights]>) -> Self {
        Self {
            path,
            images: images.encode(),
            features: features.map(<[LayerWeights]>::to_vec),
            saved: None,
        }
    }

    /// Checks that the disk has room for a checkpoint, before there is work to lose.
    ///
    /// # Errors
    /// When it fits neither in its place nor among temporary files.
    pub(super) fn try_room(&self, learner: &mut Learner) -> anyhow::Result<()> {
        let bytes = learner.state().bytes() + self.images.len() as u64 + self.feature_bytes();
        let fallback = self.fallback();
        let Err(error) = try_room(&self.path, bytes) else {
            return Ok(());
        };
        let place = self.path.display();
        let missing = format!(
            "a checkpoint of {} MB does not fit at {place}: {error}",
            bytes.div_ceil(1_000_000)
        );
        let room = try_room(&fallback, bytes);
        room.with_context(|| {
            format!("{missing}; make room, or name another place with --checkpoint")
        })?;
        eprintln!(
            "{missing}; it goes to {} unless there is room by then",
            fallback.display()
        );
        Ok(())
    }

    fn feature_bytes(&self) -> u64 {
        let layers = self.features.iter().flatten();
        let values = layers.map(|layer| layer.weight.data.len() + layer.bias.data.len());
        (values.sum::<usize>() * size_of::<f32>()) as u64
    }

    /// Records that the file is this run's checkpoint of `iteration`.
    pub(super) fn resumed(&mut self, iteration: u64) {
        self.saved = Some((self.path.clone(), iteration));
    }

    /// Writes one; if that fails, to the folder for temporary files. If both fail, learning continues: a
    /// later checkpoint may succeed.
    pub(super) fn save(&mut self, learner: &mut Learner, run: &Run) {
        let state = learner.state();
        let run = run.without_folder();
        let features = self.features.as_deref();
        for path in [self.path.clone(), self.fallback()] {
            match write_checkpoint(&path, &state, &run, Some(&self.images), features) {
                Ok(()) => {
                    if path != self.path {
                        eprintln!(
                            "the checkpoint of iteration {} is in {}",
                            state.iteration,
                            path.display()
                        );
                    }
                    self.saved = Some((path, state.iteration));
                    return;
                }
                Err(error) => eprintln!("{}", one_line(&error)),
            }
        }
    }

    /// A path in the folder for temporary files.
    fn fallback(&self) -> PathBuf {
        let name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        env::temp_dir().join(format!("{name}-{}.checkpoint", std::process::id()))
    }

    /// A sentence about what is kept and how to continue; `run` ended at `iteration`.
    pub(super) fn kept(&self, iteration: u64, total: u64, out: &Path) -> String {
        let Some((path, saved)) = &self.saved else {
            return "there is no checkpoint yet".to_owned();
        };
        let path = path.display();
        if *saved == total {
            return format!(
                "what was learned is in {path}: `trainer export {path} --out {}` writes the bundle, \
                 or another --out where there is room (with the --data-dir of the fit, if it had one)",
                out.display()
            );
        }
        let stopped = if *saved == iteration {
            format!("stopped at iteration {iteration}")
        } else {
            format!("the last checkpoint is of iteration {saved}")
        };
        let elsewhere = if *path.to_string() == self.path.display().to_string() {
            String::new()
        } else {
            format!(" --checkpoint {path}")
        };
        format!("{stopped}; the same command with --resume{elsewhere} continues from {path}")
    }

    /// The last one, for runs that must start again.
    pub(super) fn last_good(&self) -> String {
        match &self.saved {
            Some((path, at)) => format!(
                "the last good checkpoint, {}, is of iteration {at}",
                path.display()
            ),
            None => "there is no checkpoint yet".to_owned(),
        }
    }
}

/// Checks that a checkpoint can be written to and read from `path`, and that no other fit needs it.
pub(super) fn check_place(
    checkpoint: &Path,
    out: &Path,
    resume: bool,
    overwrite: bool,
) -> anyhow::Result<()> {
    let place = checkpoint.display();
    ensure!(
        !is_within(checkpoint, out)?,
        "the checkpoint {place} would be where the bundle comes to; name another place with \
         --checkpoint"
    );
    prepare_file(checkpoint)?;
    let there = checkpoint.is_file();
    ensure!(
        there || !resume,
        "there is no checkpoint {place} to resume from; name it with --checkpoint, or leave --resume \
         out"
    );
    ensure!(
        !there || resume || overwrite,
        "there is a file at {place}; if it is the checkpoint of a fit, continue it with --resume, start again with --overwrite, \
         or name another file with --checkpoint"
    );
    if there && !resume {
        let found = read_checkpoint::<Value>(checkpoint);
        found.with_context(|| {
            format!(
                "{place} cannot be read as a checkpoint, so --overwrite does not replace it; remove it, or name another \
                 file with --checkpoint"
            )
        })?;
    }
    Ok(())
}

/// Refuses a checkpoint that is `about` another run. How often a run is logged and kept may change.
pub(super) fn check_same(run: &Run, about: &Run, path: &Path) -> anyhow::Result<()> {
    let (now, before) = (described(run)?, described(about)?);
    let names: BTreeSet<_> = now.keys().chain(before.keys()).collect();
    let differing = names.into_iter().filter_map(|name| {
        let [now, before] = [&now, &before].map(|run| run.get(name).map_or("not set", |v| v));
        (now != before).then(|| format!("{name} is {now} now, and {before} there"))
    });
    let differing: Vec<_> = differing.collect();
    let told = &differing[..differing.len().min(TOLD)];
    ensure!(
        differing.is_empty(),
        "{} is of a run with other data, classes or settings: {}{}; resume with the flags and the configuration that \
         it was started with",
        path.display(),
        told.join("; "),
        match differing.len() - told.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        }
    );
    Ok(())
}

/// What makes a run another one, by name.
fn described(run: &Run) -> anyhow::Result<BTreeMap<String, String>> {
    let described = Run {
        seconds: 0.0,
        ..run.without_folder()
    };
    let mut values = BTreeMap::new();
    flatten(String::new(), serde_json::to_value(described)?, &mut values);
    // What learning does not depend on.
    let matters = |name: &str| {
        !["run.", "export."]
            .iter()
            .any(|table| name.starts_with(table))
    };
    values.retain(|name, _| matters(name));
    Ok(values)
}

/// The values in `value` by the names of the tables that they are in; those of settings without that word.
fn flatten(name: String, value: Value, into: &mut BTreeMap<String, String>) {
    let Value::Object(parts) = value else {
        into.insert(name, value.to_string());
        return;
    };
    for (part, value) in parts {
        let name = match &name[..] {
            "" | "settings" => part,
            name => format!("{name}.{part}"),
        };
        flatten(name, value, into);
    }
}
