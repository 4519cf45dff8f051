//! `trainer synthesize`: images from a bundle's prior.

use std::path::PathBuf;

use clap::Args;
use lfbm_bundle::Bundle;
use lfbm_process::print_line;
use lfbm_runtime::{Runtime, SCORE_SEED, Sampler, SessionOptions};
use serde_json::json;

use crate::evaluate::draw_samples;
use crate::output::OutputFolder;
use crate::representation::check_makes_images;

/// Arguments of `trainer synthesize`.
#[derive(Args, Clone, Debug)]
pub struct SynthesizeArgs {
    /// The bundle
    bundle: PathBuf,
    /// Samples in samples.png
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    count: u32,
    /// Columns of samples.png
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    columns: u32,
    /// Rows of interpolation.png, each between two samples
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    interpolations: u32,
    /// Images per row
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=256))]
    interpolation_steps: u32,
    /// The seed of the samples
    #[arg(long, default_value_t = SCORE_SEED)]
    seed: u64,
    /// The folder for the pictures and the JSON file; by default report/ in the bundle
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Draws samples of the prior, and linear interpolations between pairs of their latents:
/// `samples.png`, `interpolation.png`, and `synthesize.json` with the latents.
///
/// # Errors
/// When the bundle cannot be opened or sampled, or the disk fails.
pub fn run(args: &SynthesizeArgs) -> anyhow::Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    let manifest = bundle.manifest();
    check_makes_images(manifest, "synthesize", false)?;
    let (spec, d) = (&manifest.image, manifest.latent_dim);
    let own_report = || bundle.dir().join("report");
    let out = OutputFolder::prepare(&args.out.clone().unwrap_or_else(own_report))?;
    let runtime = Runtime::load(None)?;
    let options = SessionOptions::default();
    let mut sampler = Sampler::open(&runtime, bundle.dir(), manifest, &options)?;

    let latents = sampler.latents(args.count as usize, args.seed)?;
    let samples = sampler.generate(&latents)?;
    // A row has no more than all.
    let columns = args.columns.min(args.count) as usize;
    draw_samples(&out.file("samples.png"), spec, &samples, columns)?;

    let ends = sampler.latents(2 * args.interpolations as usize, args.seed)?;
    let steps = args.interpolation_steps;
    let mut between = Vec::new();
    for pair in ends.chunks(2 * d) {
        let (from, to) = pair.split_at(d);
        for step in 0..steps {
            let share = step as f32 / (steps - 1) as f32;
            let places = from.iter().zip(to);
            between.extend(places.map(|(from, to)| (1.0 - share) * from + share * to));
        }
    }
    let images = sampler.generate(&between)?;
    let path = out.file("interpolation.png");
    draw_samples(&path, spec, &images, steps as usize)?;

    let report = json!({
        "model": manifest.name,
        "version": manifest.version,
        "prior": manifest.prior,
        "seed": args.seed,
        "latents": latents.chunks(d).collect::<Vec<_>>(),
        "interpolation_latents": between.chunks(d).collect::<Vec<_>>(),
    });
    out.write("synthesize.json", &format!("{report}\n"))?;
    let folder = out.folder().to_path_buf();
    out.publish()?;
    print_line(format_args!("wrote {}", folder.display()))?;
    Ok(())
}
