//! Learns the features of normal images from these images alone: a network that finds, among views of
//! many images, the two that are of the same one (SimCLR, Chen et al., 2020,
//! <https://arxiv.org/abs/2002.05709>).

mod network;
mod views;

use std::f64::consts::PI;

use anyhow::ensure;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_model::{LayerWeights, contrastive_block};
use lfbm_runtime::Precision;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::data::Dataset;
use crate::fit::{Purpose, seed_torch};
use crate::model::host;
use crate::progress::IterationProgress;
use crate::settings::ContrastiveSettings;

use network::ContrastiveNetwork;
use views::views;

/// Images that it learns from, evenly spaced if there are more: they are all in memory.
const MOST_IMAGES: usize = 100_000;
/// Images that are read at the same time.
const IMAGES_AT_ONCE: usize = 1024;
/// Iterations from one line in a log to the next.
const LOG_EVERY: u64 = 100;
/// The part of the iterations in which the learning rate rises to its largest.
const WARM_UP: f64 = 0.1;

/// Learns from the images at `indices`; returns the weights of the network's convolutions.
///
/// # Errors
/// When there are fewer than two images, or learning diverges.
pub(super) fn learn(
    settings: &ContrastiveSettings,
    seed: u64,
    image: &ImageSpec,
    dataset: &Dataset,
    indices: &[usize],
    device: Device,
) -> anyhow::Result<Vec<LayerWeights>> {
    let images = reduced(image, dataset, indices, device);
    let (count, shape) = match images.size().as_slice() {
        &[count, channels, height, width] => (count, [channels, height, width]),
        _ => (0, [0; 3]),
    };
    ensure!(
        count >= 2,
        "features are learned by telling images from one another, and there are {count} to fit; give more \
         of them"
    );
    let batch = count.min(settings.batch_size as i64);
    seed_torch(seed, Purpose::Contrast, 0);
    // Where the processor has products of bf16; elsewhere they are slower.
    let fast = device == Device::Cpu && Precision::Bf16.check(lfbm_runtime::Device::Cpu).is_ok();
    let kind = if fast { Kind::BFloat16 } else { Kind::Float };
    let store = nn::VarStore::new(device);
    let network = ContrastiveNetwork::new(&store.root(), shape, kind);
    let mut optimizer = nn::AdamW::default().build(&store, settings.learning_rate)?;
    let total = settings.iterations;
    eprintln!(
        "learning features of {count} images by contrast, {batch} of them at a time, convolutions in {}",
        if kind == Kind::BFloat16 {
            "bf16"
        } else {
            "f32"
        }
    );
    let progress = IterationProgress::new(0, total, batch as usize, LOG_EVERY);
    for iteration in 1..=total {
        seed_torch(seed, Purpose::Contrast, iteration);
        let rows = Tensor::randperm(count, (Kind::Int64, device)).narrow(0, 0, batch);
        let some = images.index_select(0, &rows);
        let loss = network.loss(&views(&some), &views(&some), settings.temperature);
        optimizer.set_lr(settings.learning_rate * part_of_rate(iteration, total));
        optimizer.backward_step(&loss);
        let value = loss.double_value(&[]);
        ensure!(
            value.is_finite(),
            "learning features by contrast diverged at iteration {iteration}; lower \
             representation.contrastive.learning_rate"
        );
        progress.iteration(iteration, &format_args!("contrast {value:.3}"));
    }
    Ok(network.folded())
}

/// The part of the largest learning rate: it rises linearly, then falls as a cosine to 0.
fn part_of_rate(iteration: u64, total: u64) -> f64 {
    let done = iteration as f64 / total as f64;
    if done < WARM_UP {
        return done / WARM_UP;
    }
    let falling = (done - WARM_UP) / (1.0 - WARM_UP);
    (1.0 + (PI * falling).cos()) / 2.0
}

/// The images `[n,C,h,w]`, as small as the network has them.
fn reduced(image: &ImageSpec, dataset: &Dataset, indices: &[usize], device: Device) -> Tensor {
    let count = indices.len().min(MOST_IMAGES);
    let some: Vec<usize> = (0..count)
        .map(|index| indices[index * indices.len() / count])
        .collect();
    let block = contrastive_block(image) as i64;
    let shape = [image.channels, image.height, image.width].map(|size| size as i64);
    let parts = some.chunks(IMAGES_AT_ONCE).map(|chunk| {
        let size = [chunk.len() as i64, shape[0], shape[1], shape[2]];
        let images = host::to_device(&dataset.gather(chunk), &size, Device::Cpu);
        match block {
            1 => images,
            _ => images.avg_pool2d([block; 2], [block; 2], [0; 2], false, true, None),
        }
    });
    let parts: Vec<Tensor> = parts.collect();
    if parts.is_empty() {
        return Tensor::zeros([0, shape[0], 1, 1], (Kind::Float, device));
    }
    Tensor::cat(&parts, 0).to_device(device)
}
