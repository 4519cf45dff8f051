//! The arguments and the report that `trainer reconstruct`, `inpaint` and `recover` share.

use std::fs;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use indicatif::ProgressBar;
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::{ChainStart, Langevin, Manifest, PriorKind};
use lfbm_process::print_line;
use lfbm_runtime::{Inference, Runtime, SCORE_SEED, SessionOptions};
use serde::Serialize;

use super::completions::{MeanSquaredError, complete};
use super::pictures::{rows, write_each};
use crate::data::{ChangedDataArg, Dataset, SkipDamagedArg};
use crate::evaluate::draw_rows;
use crate::output::OutputFolder;
use crate::representation::check_makes_images;

/// The task of `trainer reconstruct`.
pub const RECONSTRUCT: &str = "reconstruct";
/// Langevin steps: the paper's number for testing.
const STEPS: u32 = 400;

/// Arguments of tasks on a bundle's images.
#[derive(Args, Clone, Debug)]
pub struct TaskArgs {
    /// The bundle
    pub bundle: PathBuf,
    /// The folder of the data set that was fitted; by default LFBM_DATA_DIR, then the cache
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) changed: ChangedDataArg,
    #[command(flatten)]
    pub(crate) damaged: SkipDamagedArg,
    /// The folder for the picture and the JSON file; by default report/ in the bundle
    #[arg(long)]
    out: Option<PathBuf>,
    /// The number of images, the first of the split
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub count: u32,
    /// Langevin steps; by default 400, or for chains that start at an encoder the number that scores take
    #[arg(long, value_parser = clap::value_parser!(u32).range(..=100_000))]
    steps: Option<u32>,
    /// Step size s; by default the bundle's
    #[arg(long)]
    step_size: Option<f32>,
    /// A new folder for every image that the model makes, as IMAGE-CHAIN.png, an image's chain with the highest
    /// log joint first; `trainer fid` compares them with real images
    #[arg(long, value_name = "FOLDER")]
    png: Option<PathBuf>,
    /// The seed of the chains' starts and noise
    #[arg(long, default_value_t = SCORE_SEED)]
    seed: u64,
    /// Print the report as JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

/// The errors of a model's images.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    task: &'static str,
    model: &'a str,
    version: u64,
    prior: PriorKind,
    images: usize,
    /// The mask; null for whole images.
    mask: Option<String>,
    inference: Langevin,
    seed: u64,
    /// Of intensities in [0, 1]: the mean over hidden values, or over all values of whole images.
    mean_squared_error: MeanSquaredError,
}

impl TaskArgs {
    /// The bundle, for the task of that name.
    ///
    /// # Errors
    /// When it cannot be read, or its model makes no images, or the folder for images has files.
    pub fn open(&self, task: &str) -> anyhow::Result<Bundle> {
        if let Some(folder) = &self.png {
            // Images of another run would count among these.
            ensure!(
                fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none()),
                "{} is not empty; name a new folder with --png",
                folder.display()
            );
        }
        let bundle = Bundle::open(&self.bundle)?;
        // Latents of whole images are those that a decoder knows.
        check_makes_images(bundle.manifest(), task, task == RECONSTRUCT)?;
        Ok(bundle)
    }

    /// Completes the first of the images at `indices` from what `masks` leave visible of them (all
    /// without masks), and reports the error of the hidden part: `TASK.json`, and `TASK.png` with the
    /// visible part, each chain's image, and the truth.
    ///
    /// # Errors
    /// When a run fails, a chain diverges, or the report cannot be written.
    pub fn run(
        &self,
        task: &'static str,
        manifest: &Manifest,
        dataset: &Dataset,
        indices: &[usize],
        masks: Option<(String, Vec<f32>)>,
        chains: u32,
    ) -> anyhow::Result<()> {
        let own_report = || self.bundle.join("report");
        let out = OutputFolder::prepare(&self.out.clone().unwrap_or_else(own_report))?;
        let png = self.png.as_deref().map(OutputFolder::prepare).transpose()?;
        let runtime = Runtime::load(None)?;
        let options = SessionOptions::default();
        let mut inference = Inference::open(&runtime, &self.bundle, manifest, &options)?;
        let langevin = Langevin {
            steps: self.steps.unwrap_or(match manifest.chain_start {
                ChainStart::StandardNormal => STEPS,
                ChainStart::Encoder => manifest.langevin.steps,
            }),
            step_size: self.step_size.unwrap_or(manifest.langevin.step_size),
            chains,
            ..manifest.langevin
        };
        let truth = dataset.gather(indices);
        let (mask, masks) = masks.unzip();
        let bar = ProgressBar::new(indices.len() as u64);
        let progress = &mut |done: usize| bar.set_position(done as u64);
        let seen = masks.as_deref();
        let made = complete(&mut inference, &truth, seen, &langevin, self.seed, progress)?;
        bar.finish_and_clear();

        let spec = &manifest.image;
        let report = Report {
            task,
            model: &manifest.name,
            version: manifest.version,
            prior: manifest.prior,
            images: indices.len(),
            mask,
            inference: langevin,
            seed: self.seed,
            mean_squared_error: made.error(&truth, seen, spec),
        };
        let json = serde_json::to_string_pretty(&report)?;
        if self.json {
            print_line(&json)?;
        } else {
            let MeanSquaredError {
                best_chain,
                standard_error,
                all_chains,
            } = report.mean_squared_error;
            let over = match report.mask {
                None => "all values".to_owned(),
                Some(mask) => format!("the values hidden by {mask}"),
            };
            print_line(format_args!(
                "mean squared error over {over} of {} images, intensities in [0, 1]: \
                 {best_chain:.5} ± {standard_error:.5} (all chains {all_chains:.5})",
                report.images
            ))?;
        }
        out.write(&format!("{task}.json"), &format!("{json}\n"))?;

        let rows = rows(&truth, seen, &made, spec);
        draw_rows(&out.file(&format!("{task}.png")), spec, &rows)?;
        if let Some(png) = &png {
            write_each(png, &truth, seen, &made, spec)?;
        }
        for out in [Some(out), png].into_iter().flatten() {
            let folder = out.folder().to_path_buf();
            out.publish()?;
            eprintln!("wrote {}", folder.display());
        }
        Ok(())
    }
}
