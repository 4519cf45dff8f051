//! The decoder of a model whose x are features of the whole image: what shows an image as the model sees it.

use anyhow::ensure;
use lfbm_bundle::manifest::Manifest;
use lfbm_model::{decoder_graph, decoder_spec, pixels};
use lfbm_onnx::Graph;
use lfbm_runtime::{Inference, SCORE_SEED};
use tch::Device;

use crate::data::{Dataset, Split};
use crate::fit::DecoderLearner;
use crate::model::host;
use crate::progress::IterationProgress;
use crate::settings::{FloatType, Settings};

/// Images that it learns of: twice as many make its error no smaller on MNIST.
const MOST_IMAGES: usize = 8192;
/// Images of an iteration.
const BATCH_SIZE: usize = 128;

/// Learns the decoder from the training images and the latents that a server infers of them. `None` for models of
/// pixels or of many sites, for images too large for it, and where the settings want none.
///
/// # Errors
/// When a run fails, or learning diverges.
pub fn fit_decoder(
    inference: &mut Inference,
    manifest: &Manifest,
    settings: &Settings,
    dataset: &Dataset,
    split: &Split,
) -> anyhow::Result<Option<Graph>> {
    let iterations = settings.export.decoder_iterations;
    let kind = settings.representation.kind;
    if iterations == 0 || !kind.has_sites() || kind.has_many_sites() {
        return Ok(None);
    }
    let Some(spec) = decoder_spec(manifest.latent_dim, &manifest.image) else {
        eprintln!(
            "note: images of {} x {} pixels are too large for a decoder; explanations show no reconstruction",
            manifest.image.width, manifest.image.height
        );
        return Ok(None);
    };
    let images = &split.train[..split.train.len().min(MOST_IMAGES)];
    eprintln!(
        "learning to make the pixels of {} images of their latents",
        images.len()
    );
    let intensities = dataset.gather(images);
    let x = inference.preprocess(&intensities)?;
    let chains = inference.chains(&x, None, &manifest.langevin, SCORE_SEED, &mut |_| ())?;
    let z: Vec<f32> = (chains.into_iter())
        .flat_map(|of_image| of_image.into_iter().next())
        .flat_map(|chain| chain.z)
        .collect();
    ensure!(
        z.iter().all(|value| value.is_finite()),
        "some chains diverged; fit with a smaller inference.step_size"
    );
    let count = images.len() as i64;
    let [channels, height, width] = manifest.image.shape().map(|size| size as i64);
    let z = host::to_device(&z, &[count, manifest.latent_dim as i64], Device::Cpu);
    let pixels = pixels::in_range(&intensities, &manifest.image);
    let pixels = host::to_device(&pixels, &[count, channels, height, width], Device::Cpu);
    let mut learner = DecoderLearner::new(&spec, iterations, settings.seed)?;
    let every = settings.run.log_every;
    let progress = IterationProgress::new("learning the decoder", 0, iterations, BATCH_SIZE, every);
    for iteration in 1..=iterations {
        let error = learner.iterate(&z, &pixels, BATCH_SIZE as i64, iteration);
        ensure!(
            error.is_finite(),
            "learning the decoder diverged at iteration {iteration}; leave it out with --set export.decoder_iterations=0"
        );
        progress.iteration(iteration, &format_args!("squared error {error:.2}"));
    }
    let mut graph = decoder_graph(&spec, &learner.weights())?;
    if settings.export.weights == FloatType::Float16 {
        graph.round_weights();
    }
    Ok(Some(graph))
}
