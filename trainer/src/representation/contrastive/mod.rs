//! Learns the features of normal images from these images alone: a network that finds, among views of
//! many images, the two that are of the same one (SimCLR, Chen et al., 2020,
//! <https://arxiv.org/abs/2002.05709>).

mod network;
mod views;

use std::f64::consts::PI;

use anyhow::ensure;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_model::{LayerWeights, whole_image_blocks};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use super::evenly;
use crate::data::Dataset;
use crate::fit::{ChainPrecision, Purpose, seed_torch};
use crate::model::host;
use crate::progress::IterationProgress;
use crate::settings::{ContrastiveSettings, Settings};

use network::ContrastiveNetwork;
use views::views;

/// Images that it learns from, evenly spaced if there are more: they are all in memory, of 32 x 32 pixels at
/// most.
const MOST_IMAGES: usize = 100_000;
/// Images that are averaged down at the same time.
const AT_ONCE: usize = 32;
/// The part of the iterations in which the learning rate rises to its largest.
const WARM_UP: f64 = 0.1;

/// Learns from the images at `indices`; returns the weights of the network's convolutions.
///
/// # Errors
/// When there are fewer than two images, or learning diverges.
pub(super) fn learn(
    settings: &Settings,
    image: &ImageSpec,
    dataset: &Dataset,
    indices: &[usize],
    device: Device,
) -> anyhow::Result<Vec<LayerWeights>> {
    ensure!(
        indices.len() >= 2,
        "features are learned by telling images from one another, and there are {} to fit; give more of them",
        indices.len()
    );
    let images = reduced(image, dataset, &evenly(indices, MOST_IMAGES))?.to_device(device);
    let contrastive = &settings.representation.contrastive;
    eprintln!(
        "learning features of {} images by contrast",
        images.size()[0]
    );
    let mut learner = Learner::new(contrastive, settings.seed, &images)?;
    let batch_size = learner.batch_size as usize;
    let total = contrastive.iterations;
    let every = settings.run.log_every;
    let progress = IterationProgress::new("learning features", 0, total, batch_size, every);
    for iteration in 1..=total {
        let loss = learner.iterate(&images, iteration);
        ensure!(
            loss.is_finite(),
            "learning features by contrast diverged at iteration {iteration}; lower \
             representation.contrastive.learning_rate"
        );
        progress.iteration(iteration, &format_args!("contrast {loss:.3}"));
    }
    Ok(learner.network.folded())
}

/// The network, and what changes it.
struct Learner<'a> {
    settings: &'a ContrastiveSettings,
    seed: u64,
    network: ContrastiveNetwork,
    optimizer: nn::Optimizer,
    /// At most as many as there are images.
    batch_size: i64,
}

impl<'a> Learner<'a> {
    /// For `images: [n,C,H,W]`, on their device.
    fn new(settings: &'a ContrastiveSettings, seed: u64, images: &Tensor) -> anyhow::Result<Self> {
        let (count, channels, height, width) = images.size4()?;
        let kind = match settings.precision {
            ChainPrecision::F32 => Kind::Float,
            ChainPrecision::Bf16 => Kind::BFloat16,
        };
        seed_torch(seed, Purpose::Contrast, 0);
        let store = nn::VarStore::new(images.device());
        let network = ContrastiveNetwork::new(&store.root(), [channels, height, width], kind);
        let mut optimizer = nn::AdamW::default().build(&store, settings.learning_rate)?;
        optimizer.set_weight_decay(settings.weight_decay);
        Ok(Self {
            settings,
            seed,
            network,
            optimizer,
            batch_size: count.min(settings.batch_size as i64),
        })
    }

    /// One iteration, of which 1 is the first; returns its loss.
    fn iterate(&mut self, images: &Tensor, iteration: u64) -> f64 {
        seed_torch(self.seed, Purpose::Contrast, iteration);
        let on_device = (Kind::Int64, images.device());
        let rows = Tensor::randperm(images.size()[0], on_device).narrow(0, 0, self.batch_size);
        let some = images.index_select(0, &rows);
        let loss = self
            .network
            .loss(&views(&some), &views(&some), self.settings.temperature);
        let part = part_of_rate(iteration, self.settings.iterations);
        self.optimizer.set_lr(self.settings.learning_rate * part);
        self.optimizer.backward_step(&loss);
        loss.double_value(&[])
    }
}

/// The part of the largest learning rate: it rises linearly, then falls as a cosine to 0.
fn part_of_rate(iteration: u64, total: u64) -> f64 {
    let done = (iteration as f64 - 0.5) / total as f64;
    if done < WARM_UP {
        return done / WARM_UP;
    }
    let falling = (done - WARM_UP) / (1.0 - WARM_UP);
    (1.0 + (PI * falling).cos()) / 2.0
}

/// The images `[n,C,h,w]`, as small as the network has them.
fn reduced(image: &ImageSpec, dataset: &Dataset, indices: &[usize]) -> anyhow::Result<Tensor> {
    let blocks = whole_image_blocks(image).map(|side| side as i64);
    let [channels, height, width] =
        [image.channels, image.height, image.width].map(|size| size as i64);
    let sides = [height / blocks[0], width / blocks[1]];
    let count = indices.len() as i64;
    let all = Tensor::zeros(
        [count, channels, sides[0], sides[1]],
        (Kind::Float, Device::Cpu),
    );
    for (number, chunk) in indices.chunks(AT_ONCE).enumerate() {
        let size = [chunk.len() as i64, channels, height, width];
        let images = host::to_device(&dataset.gather(chunk), &size, Device::Cpu);
        let means = images.avg_pool2d(blocks, blocks, [0; 2], false, true, None);
        let start = (number * AT_ONCE) as i64;
        all.narrow(0, start, size[0]).copy_(&means);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use lfbm_bundle::manifest::Contrast;
    use lfbm_model::{Intake, Representation, features_graph};
    use lfbm_runtime::{Runtime, evaluate};

    use super::*;
    use crate::data::Pixels;

    /// Blobs: smooth noise, brighter and darker than a threshold.
    fn blobs(count: i64, shape: [i64; 3]) -> Tensor {
        let noise = Tensor::randn([count, shape[0], 5, 5], (Kind::Float, Device::Cpu));
        let smooth = noise.upsample_bicubic2d([shape[1], shape[2]], true, None, None);
        (smooth * 4.0).sigmoid()
    }

    /// The graph computes of a data set's images what the network does once it has stopped learning, for sides
    /// that strides divide and others, for images that are averaged first, and for those of a pixel.
    #[test]
    fn the_graph_computes_what_the_network_does() {
        let runtime = Runtime::load(None).unwrap();
        for shape in [
            [1, 28, 28],
            [3, 17, 9],
            [1, 66, 70],
            [1, 1, 1],
            [2, 2, 3],
            [1, 2, 200],
        ] {
            tch::manual_seed(3);
            let images = blobs(8, shape);
            let [channels, height, width] = shape.map(|size| size as usize);
            let spec = ImageSpec {
                channels,
                height,
                width,
                value_range: [-1.0, 1.0],
                contrast: Contrast::None,
                intake: Intake::default(),
            };
            let bytes = (&images * 255.0).to_kind(Kind::Uint8).flatten(0, -1);
            let dataset = Dataset {
                name: "blobs".to_owned(),
                channels,
                height,
                width,
                intake: Intake::default(),
                classes: vec!["blob".to_owned()],
                labels: vec![0; 8],
                images: Pixels::new(Vec::try_from(bytes).unwrap(), channels * height * width),
                files: Vec::new(),
                inspected: Vec::new(),
            };
            let small = reduced(&spec, &dataset, &[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
            assert!(small.size()[2] <= 32 && small.size()[3] <= 32);
            let settings = ContrastiveSettings::default();
            let mut learner = Learner::new(&settings, 1, &small).unwrap();
            for iteration in 1..4 {
                learner.iterate(&small, iteration);
            }

            let layers = learner.network.folded();
            let (graph, grid) =
                features_graph(&Representation::Contrastive(&layers), &spec).unwrap();
            let input = lfbm_onnx::Tensor::new(
                [8, channels, height, width],
                dataset.gather(&[0, 1, 2, 3, 4, 5, 6, 7]),
            );
            let outputs = evaluate(&runtime, &graph, &[input]).unwrap();
            let computed = Tensor::from_slice(&outputs[0].data).view([8, grid.values as i64]);
            let expected = learner.network.features(&small, false);
            let difference = (computed - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-4, "{shape:?}: {difference}");
        }
    }

    /// Of images that it has not seen, the network finds the other view better than before it learned.
    #[test]
    fn what_is_learned_holds_for_other_images() {
        tch::manual_seed(4);
        let (fitted, unseen) = (blobs(256, [1, 24, 24]), blobs(64, [1, 24, 24]));
        let settings = ContrastiveSettings {
            iterations: 40,
            batch_size: 64,
            ..ContrastiveSettings::default()
        };
        let mut learner = Learner::new(&settings, 0, &fitted).unwrap();
        let (first, second) = (views(&unseen), views(&unseen));
        let loss = |learner: &Learner<'_>| {
            let loss = learner.network.loss(&first, &second, settings.temperature);
            loss.double_value(&[])
        };
        let before = loss(&learner);
        for iteration in 1..=settings.iterations {
            learner.iterate(&fitted, iteration);
        }
        let after = loss(&learner);
        assert!(after < before - 0.5, "{before} {after}");
    }

    #[test]
    fn the_learning_rate_rises_and_falls_and_never_is_zero() {
        for total in [1, 2, 7, 1200] {
            let parts: Vec<_> = (1..=total)
                .map(|iteration| part_of_rate(iteration, total))
                .collect();
            assert!(
                parts
                    .iter()
                    .all(|part| (0.0..=1.0).contains(part) && *part > 0.0)
            );
        }
        assert!(part_of_rate(1, 1200) < 0.01 && part_of_rate(1200, 1200) < 0.01);
        assert!(part_of_rate(121, 1200) > 0.99);
    }
}
