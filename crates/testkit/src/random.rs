//! Bundles, weights and images of random values.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::error::Error;
use std::path::Path;

use lfbm_bundle::manifest::{
    Aggregation, ChainStart, Classes, Contrast, Decision, ImageSpec, Intake, Langevin, PriorKind,
    PriorSampling,
};
use lfbm_bundle::{Bundle, BundleSpec, StagedBundle};
use lfbm_detector::{Calibration, memory_bank_of};
use lfbm_model::{
    EncoderSpec, EncoderWeights, EnergyWeights, FlowStepWeights, FlowWeights, GeneratorName,
    GeneratorSpec, IafStepWeights, LayerWeights, ModelError, PriorWeights, RepresentationSpec,
    encoder_graph, forward_graphs, preprocess_graph,
};
use lfbm_onnx::Tensor;
use lfbm_runtime::{Inference, Runtime, SessionOptions};

/// Why a random bundle cannot be made.
pub type Failure = Box<dyn Error + Send + Sync>;

const FLOW_STEPS: usize = 5;
const HIDDEN: usize = 64;
const CALIBRATION_IMAGES: usize = 99;
const STORED_IMAGES: usize = 200;

fn normal(rng: &mut ChaCha8Rng, shape: &[usize], deviation: f32) -> Tensor {
    let count = shape.iter().product();
    let draw = |_| deviation * <StandardNormal as Distribution<f32>>::sample(&StandardNormal, rng);
    Tensor::new(shape, (0..count).map(draw).collect())
}

/// Random weights of a generator, scaled so that signals keep their size.
///
/// # Errors
/// When the sizes make no generator.
pub fn random_generator(spec: &GeneratorSpec, seed: u64) -> Result<Vec<LayerWeights>, ModelError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let layers = spec.layers()?;
    Ok(layers
        .iter()
        .map(|layer| {
            let shape = layer.weight_shape();
            let fan_in = shape.iter().product::<usize>() / layer.outputs();
            LayerWeights {
                weight: normal(&mut rng, &shape, (1.5 / fan_in as f32).sqrt()),
                bias: normal(&mut rng, &[layer.outputs()], 0.05),
            }
        })
        .collect())
}

/// Random weights of a flow; the linear maps are reflections, which are their own inverses.
pub fn random_flow(d: usize, steps: usize, hidden: usize, seed: u64) -> FlowWeights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let half = d / 2;
    let steps = (0..steps)
        .map(|_| {
            let axis = normal(&mut rng, &[d], 1.0).data;
            let square: f32 = axis.iter().map(|v| v * v).sum();
            let reflection = (0..d * d).map(|i| {
                f32::from(u8::from(i / d == i % d)) - 2.0 * axis[i / d] * axis[i % d] / square
            });
            let matrix = Tensor::new([d, d], reflection.collect());
            FlowStepWeights {
                bias: normal(&mut rng, &[d], 0.1).data,
                log_scale: normal(&mut rng, &[d], 0.1).data,
                inverse: matrix.clone(),
                matrix,
                log_abs_det: 0.0,
                coupling: [
                    linear(&mut rng, half, hidden, 0.5),
                    linear(&mut rng, hidden, hidden, 0.5),
                    linear(&mut rng, hidden, 2 * (d - half), 0.5),
                ],
            }
        })
        .collect();
    FlowWeights {
        steps,
        base: Vec::new(),
    }
}

/// Random weights of an energy.
pub fn random_energy(d: usize, hidden: usize, seed: u64) -> EnergyWeights {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    [(d, hidden), (hidden, hidden), (hidden, 1)]
        .map(|(inputs, outputs)| linear(&mut rng, inputs, outputs, 1.5))
}

fn linear(rng: &mut ChaCha8Rng, inputs: usize, outputs: usize, gain: f32) -> LayerWeights {
    LayerWeights {
        weight: normal(
            rng,
            &[outputs, inputs],
            gain / (inputs.max(1) as f32).sqrt(),
        ),
        bias: normal(rng, &[outputs], 0.1),
    }
}

/// Random weights of an encoder. Its flow steps are not masked: what runs them cannot tell.
///
/// # Errors
/// When the sizes make no encoder.
pub fn random_encoder(spec: &EncoderSpec, seed: u64) -> Result<EncoderWeights, ModelError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let features = spec.features()?.into_iter().map(|layer| {
        let shape = layer.weight_shape();
        let fan_in = shape[1..].iter().product::<usize>();
        LayerWeights {
            weight: normal(&mut rng, &shape, (1.5 / fan_in as f32).sqrt()),
            bias: normal(&mut rng, &shape[..1], 0.05),
        }
    });
    let features = features.collect();
    let head = linear(&mut rng, spec.head_inputs()?, spec.head_outputs(), 1.0);
    let (d, hidden) = (spec.generator.latent_dim, spec.iaf_hidden);
    let iaf = (0..spec.iaf_steps).map(|_| IafStepWeights {
        context: normal(&mut rng, &[hidden, spec.context], 0.2),
        layers: [(d, hidden), (hidden, hidden), (hidden, 2 * d)]
            .map(|(inputs, outputs)| linear(&mut rng, inputs, outputs, 1.0)),
    });
    Ok(EncoderWeights {
        iaf: iaf.collect(),
        features,
        head,
    })
}

/// What a random model is made of.
#[derive(Clone, Copy, Debug)]
pub struct RandomModel {
    /// The generator.
    pub generator: GeneratorName,
    /// The prior.
    pub prior: PriorKind,
    /// Where chains start; those of an encoder take no steps.
    pub chain_start: ChainStart,
    /// Size of the latent.
    pub latent_dim: usize,
    /// Width of the generator.
    pub width: usize,
    /// Decides the weights.
    pub seed: u64,
    /// Whether they are rounded to half precision.
    pub rounded: bool,
    /// Chains of a score.
    pub chains: u32,
    /// How they become one.
    pub aggregation: Aggregation,
    /// Images of the memory bank.
    pub stored_images: usize,
    /// The bundle's.
    pub version: u64,
}

impl RandomModel {
    /// With a flow, and chains from N(0, I).
    pub fn new(generator: GeneratorName, latent_dim: usize, width: usize, seed: u64) -> Self {
        Self {
            generator,
            prior: PriorKind::Flow,
            chain_start: ChainStart::StandardNormal,
            latent_dim,
            width,
            seed,
            rounded: false,
            chains: 1,
            aggregation: Aggregation::Mean,
            stored_images: STORED_IMAGES,
            version: 1,
        }
    }
}

/// Writes a bundle with random weights and a flow, calibrated on random images: grey ones of 28 x 28
/// for `mlp` and `mnist`, colour ones of the generator's size for the others.
///
/// # Errors
/// When the sizes make no model, or the bundle cannot be written.
pub fn random_bundle(
    out: &Path,
    runtime: &Runtime,
    generator: GeneratorName,
    latent_dim: usize,
    width: usize,
    seed: u64,
) -> Result<Bundle, Failure> {
    let model = RandomModel::new(generator, latent_dim, width, seed);
    random_bundle_of(out, runtime, model)
}

/// [`random_bundle`] of another model.
///
/// # Errors
/// When the sizes make no model, or the bundle cannot be written.
pub fn random_bundle_of(
    out: &Path,
    runtime: &Runtime,
    model: RandomModel,
) -> Result<Bundle, Failure> {
    let RandomModel {
        generator,
        prior,
        chain_start,
        latent_dim,
        width,
        seed,
        rounded,
        chains,
        aggregation,
        stored_images,
        version,
    } = model;
    let grey = matches!(generator, GeneratorName::Mlp | GeneratorName::Mnist);
    let side = generator.side().unwrap_or(28);
    let image = ImageSpec {
        channels: if grey { 1 } else { 3 },
        height: side,
        width: side,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };
    let spec = GeneratorSpec {
        name: generator,
        latent_dim,
        width,
        channels: image.channels,
        height: side,
        width_px: side,
    };
    let weights = random_generator(&spec, seed)?;
    let prior = match prior {
        PriorKind::Flow => {
            PriorWeights::Flow(random_flow(latent_dim, FLOW_STEPS, HIDDEN, seed + 1))
        }
        PriorKind::Ebm => PriorWeights::Ebm(Box::new(random_energy(latent_dim, HIDDEN, seed + 1))),
        PriorKind::Gaussian => PriorWeights::Gaussian,
    };
    let prior_sampling = (prior.kind() == PriorKind::Ebm).then_some(PriorSampling {
        steps: 60,
        step_size: 0.4,
    });
    let mut graphs = forward_graphs(preprocess_graph(&image)?, &spec, &weights, &prior)?;
    let mut steps = 20;
    if chain_start == ChainStart::Encoder {
        steps = 0;
        let encoder = EncoderSpec {
            generator: spec,
            width,
            context: 16,
            iaf_steps: 2,
            iaf_hidden: HIDDEN,
        };
        let weights = random_encoder(&encoder, seed + 4)?;
        graphs.encoder = Some(encoder_graph(&encoder, &weights)?);
    }
    if rounded {
        graphs.round_weights();
    }
    let langevin = Langevin {
        steps,
        step_size: 0.1,
        noise_free_steps: 0,
        chains,
        aggregation,
    };
    let staged = StagedBundle::stage(
        out,
        BundleSpec {
            name: format!("random-{generator}"),
            version,
            image,
            representation: RepresentationSpec::whole_images(&image),
            latent_dim,
            sigma: 0.3,
            prior: prior.kind(),
            prior_sampling,
            generator: generator.to_string(),
            langevin,
            classes: Classes::default(),
            training: Default::default(),
        },
        &graphs,
        false,
    )?;
    let options = SessionOptions::default();
    let mut inference = Inference::open(runtime, staged.dir(), staged.manifest(), &options)?;
    let images = calibration_images(&image, seed);
    let scores = inference.score(&images, &langevin, 0, &mut |_| ())?;
    let x = inference.preprocess(&images)?;
    let memory_bank = inference.preprocess(&random_images(&image, stored_images, seed + 3))?;
    let memory_bank = memory_bank_of(&memory_bank, image.shape())?;
    let calibration = Calibration::from_scores(&scores, &x, memory_bank)?;
    Ok(staged.finish(&calibration, 0.05, Decision::Local)?)
}

/// The images that a random bundle of that seed is calibrated on.
pub fn calibration_images(image: &ImageSpec, seed: u64) -> Vec<f32> {
    random_images(image, CALIBRATION_IMAGES, seed + 2)
}

/// `n` images of uniform intensities in [0, 1], n x C H W.
pub fn random_images(image: &ImageSpec, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n * image.pixels()).map(|_| rng.random()).collect()
}

/// Uniform values in [-1, 1).
pub fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}
