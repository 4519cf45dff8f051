//! `trainer fid`.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_images::Fit;
use lfbm_model::pixels::from_x;
use lfbm_process::print_line;
use lfbm_runtime::{FeatureNetwork, Inference, Runtime, SCORE_SEED, SessionOptions};
use serde_json::json;
use tch::Tensor;

use crate::commands::fitted::check_size;
use crate::data::{DataArgs, Dataset, DatasetName, OptionalClassArgs};
use crate::evaluate::{Moments, edge_features};
use crate::representation::check_makes_images;

/// Batch size of sampling and of the network.
const BATCH: usize = 100;

/// Arguments of `trainer fid`.
#[derive(Args, Clone, Debug)]
pub struct FidArgs {
    /// The generated images: a bundle, which is sampled, or a folder of images
    generated: PathBuf,
    /// The network whose features are compared, as ONNX: images [B, C, H, W] to features [B, F];
    /// by default histograms of gradients in eight directions in 4 x 4 cells
    #[arg(long)]
    features: Option<PathBuf>,
    /// The values of black and white for that network
    #[arg(long, requires = "features", num_args = 2, value_names = ["BLACK", "WHITE"], default_values_t = [0.0, 1.0],
        allow_negative_numbers = true)]
    input_range: Vec<f32>,
    #[command(flatten)]
    real: DataArgs,
    #[command(flatten)]
    classes: OptionalClassArgs,
    /// The largest number of real and of generated images
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    count: u32,
    /// The seed of a bundle's samples
    #[arg(long, default_value_t = SCORE_SEED)]
    seed: u64,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

/// Reports the Fréchet distance between images of a data set and generated ones.
///
/// # Errors
/// When images or the network cannot be read, or have different sizes.
pub fn run(args: &FidArgs) -> anyhow::Result<()> {
    let dataset = args.real.load()?;
    let normal = args.classes.select(&dataset)?.normal;
    let mut chosen: Vec<usize> = (0..dataset.len())
        .filter(|&index| normal.contains(&dataset.labels[index]))
        .collect();
    chosen.truncate(args.count as usize);
    let mut real = dataset.gather(&chosen);
    let runtime = Runtime::load(None)?;
    let generated = if args.generated.join("manifest.json").is_file() {
        sampled(&runtime, args, &dataset, &mut real)?
    } else {
        of_folder(args, &dataset)?
    };

    let shape = [dataset.channels, dataset.height, dataset.width];
    let pixels: usize = shape.iter().product();
    ensure!(
        real.len().min(generated.len()) >= 2 * pixels,
        "a distance needs two images of either kind at least"
    );
    let mut network = (args.features.as_deref())
        .map(|path| FeatureNetwork::open(&runtime, path))
        .transpose()?;
    let [black, white] = [args.input_range[0], args.input_range[1]];
    let [c, h, w] = shape.map(|size| size as i64);
    let mut of_batch = |images: &[f32]| -> anyhow::Result<Tensor> {
        let Some(network) = &mut network else {
            return Ok(edge_features(
                &Tensor::from_slice(images).view([-1, c, h, w]),
            ));
        };
        let scaled: Vec<f32> = images.iter().map(|v| black + (white - black) * v).collect();
        let features = network.run(shape, &scaled)?;
        let count = features.shape[0] as i64;
        Ok(Tensor::from_slice(&features.data).view([count, -1]))
    };
    let mut features = |intensities: &[f32]| -> anyhow::Result<Tensor> {
        let batches = intensities.chunks(BATCH * pixels).map(&mut of_batch);
        Ok(Tensor::cat(&batches.collect::<Result<Vec<_>, _>>()?, 0))
    };
    let real_features = features(&real)?;
    let generated_features = features(&generated)?;
    let (n, size) = real_features.size2()?;
    let generated_count = generated_features.size()[0];
    let distance = Moments::of(&real_features).distance(&Moments::of(&generated_features));
    if n.min(generated_count) <= size {
        eprintln!(
            "fewer images ({n} and {generated_count}) than features ({size}): compare this number \
             only with others of as many images"
        );
    }
    if args.json {
        let report = json!({
            "fid": distance,
            "features": args.features.as_deref().map_or("edges".into(), Path::to_string_lossy),
            "feature_count": size,
            "real_images": n,
            "generated_images": generated_count,
            "seed": args.seed,
        });
        print_line(serde_json::to_string_pretty(&report)?)?;
    } else {
        print_line(format_args!(
            "Fréchet distance {distance:.4} of {size} features, {n} real and {generated_count} \
             generated images"
        ))?;
    }
    Ok(())
}

/// Intensities of samples of the bundle, in steps of a byte as files have them. Where the model
/// normalises contrast its samples have that contrast, so the real images are given it too.
fn sampled(
    runtime: &Runtime,
    args: &FidArgs,
    dataset: &Dataset,
    real: &mut [f32],
) -> anyhow::Result<Vec<f32>> {
    let bundle = Bundle::open(&args.generated)?;
    check_makes_images(bundle.manifest(), "fid", false)?;
    let spec = &bundle.manifest().image;
    check_size(spec, dataset)?;
    let options = SessionOptions::default();
    let mut inference = Inference::open(runtime, bundle.dir(), bundle.manifest(), &options)?;
    for images in real.chunks_mut(BATCH * spec.pixels()) {
        let x = inference.preprocess(images)?;
        images.copy_from_slice(&in_bytes(&x, spec));
    }
    let x = inference.sample_prior(args.count as usize, args.seed)?;
    Ok(in_bytes(&x, spec))
}

fn in_bytes(x: &[f32], spec: &ImageSpec) -> Vec<f32> {
    let intensities = from_x(x, spec, None).into_iter();
    intensities.map(|v| (255.0 * v).round() / 255.0).collect()
}

fn of_folder(args: &FidArgs, dataset: &Dataset) -> anyhow::Result<Vec<f32>> {
    let generated = DataArgs {
        dataset: DatasetName::Images,
        data_dir: Some(args.generated.clone()),
        image_size: Some(dataset.height as u32),
        crop: None,
        fit: Fit::Stretch,
        channels: Some(dataset.channels as u8),
        test_list: None,
        ..args.real.clone()
    };
    ensure!(
        dataset.height == dataset.width,
        "folders of images are made square, the data set's are {} x {}",
        dataset.height,
        dataset.width
    );
    let generated = generated.load()?;
    let chosen: Vec<usize> = (0..generated.len().min(args.count as usize)).collect();
    Ok(generated.gather(&chosen))
}
