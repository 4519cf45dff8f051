//! Bundles of models of sites, with random weights.

use std::path::Path;

use lfbm_bundle::manifest::{
    Aggregation, Classes, Contrast, Decision, ImageSpec, Intake, Langevin, PriorKind,
    RepresentationKind, RepresentationSpec,
};
use lfbm_bundle::{Bundle, BundleSpec, ImageNames, StagedBundle};
use lfbm_detector::Calibration;
use lfbm_detector::sites::{Rule, SiteBank, SiteCalibration, SiteGrid, sum_sites};
use lfbm_model::{
    GeneratorName, GeneratorSpec, PriorWeights, decoder_graph, decoder_spec, forward_graphs,
};
use lfbm_onnx::{Dim, Graph, GraphError};
use lfbm_runtime::{Inference, Runtime, SCORE_SEED, SessionOptions};

use crate::random::{Failure, random_flow, random_generator, random_images};

const LATENT_DIM: usize = 4;
const WIDTH: usize = 8;
const HIDDEN: usize = 16;
const FLOW_STEPS: usize = 2;
/// Images whose sites are stored.
const STORED_IMAGES: usize = 8;
const STORED_SITES: usize = 64;

/// What a random model of sites is made of: grey images, cut into square tiles of pixels.
#[derive(Clone, Copy, Debug)]
pub struct RandomSites {
    /// Tiles from top to bottom.
    pub rows: usize,
    /// Tiles from left to right.
    pub columns: usize,
    /// Side of a tile in pixels.
    pub tile: usize,
    /// How images of other sizes become such.
    pub intake: Intake,
    /// Langevin steps.
    pub steps: u32,
    /// Chains a site.
    pub chains: u32,
    /// Normal images that it is calibrated on.
    pub calibration_images: usize,
    /// Which score makes the verdict.
    pub decision: Decision,
    /// Whether it has a decoder, which one site can have: x are features then, not pixels.
    pub decoder: bool,
    /// Decides the weights.
    pub seed: u64,
}

impl RandomSites {
    /// 4 x 4 tiles of 8 x 8 pixels, calibrated on 60 images.
    pub fn new(seed: u64) -> Self {
        Self {
            rows: 4,
            columns: 4,
            tile: 8,
            intake: Intake::STRETCH,
            steps: 5,
            chains: 1,
            calibration_images: 60,
            decision: Decision::Sites,
            decoder: false,
            seed,
        }
    }

    /// The images that the model is for.
    pub fn image(&self) -> ImageSpec {
        ImageSpec {
            channels: 1,
            height: self.rows * self.tile,
            width: self.columns * self.tile,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
            intake: self.intake,
        }
    }

    /// `image: [B,1,H,W]` to `x: [B,S,D]`: the pixels of tiles in the value range, row by row.
    fn tiles(&self) -> Result<Graph, GraphError> {
        let ImageSpec {
            height,
            width,
            value_range: [low, high],
            ..
        } = self.image();
        let mut graph = Graph::new("preprocess");
        let shape = [1, height, width].map(Dim::Fixed);
        let image = graph.input("image", &[Dim::Batch, shape[0], shape[1], shape[2]]);
        let scaled = graph.scale(&image, high - low)?;
        let low = graph.scalar(low);
        let x = graph.add(&scaled, &low)?;
        let [rows, columns, tile] = [self.rows, self.columns, self.tile].map(|size| size as i64);
        let cut = graph.reshape(&x, &[-1, rows, tile, columns, tile])?;
        let tiles = graph.transpose(&cut, &[0, 1, 3, 2, 4])?;
        let x = graph.reshape(&tiles, &[-1, rows * columns, tile * tile])?;
        graph.output("x", &x)?;
        Ok(graph)
    }
}

/// Writes a bundle of a model of sites, calibrated on random images.
///
/// # Errors
/// When the sizes make no model, or the bundle cannot be written.
pub fn random_site_bundle(
    out: &Path,
    runtime: &Runtime,
    model: RandomSites,
) -> Result<Bundle, Failure> {
    let RandomSites {
        rows,
        columns,
        tile,
        steps,
        chains,
        decision,
        decoder,
        seed,
        ..
    } = model;
    let (image, values) = (model.image(), tile * tile);
    let generator = GeneratorSpec {
        name: GeneratorName::Features,
        latent_dim: LATENT_DIM,
        width: WIDTH,
        channels: values,
        height: 1,
        width_px: 1,
    };
    let weights = random_generator(&generator, seed)?;
    let prior = PriorWeights::Flow(random_flow(LATENT_DIM, FLOW_STEPS, HIDDEN, seed + 1));
    let graphs = forward_graphs(model.tiles()?, &generator, &weights, &prior)?;
    let langevin = Langevin {
        steps,
        step_size: 0.05,
        noise_free_steps: 0,
        chains,
        aggregation: Aggregation::Mean,
    };
    let representation = RepresentationSpec {
        kind: if decoder {
            RepresentationKind::Hog
        } else {
            RepresentationKind::Pixels
        },
        rows,
        columns,
        values,
        network: None,
    };
    let spec = BundleSpec {
        name: format!("random-sites-{}", rows * columns),
        version: 1,
        image,
        representation,
        latent_dim: LATENT_DIM,
        sigma: 0.3,
        prior: PriorKind::Flow,
        prior_sampling: None,
        generator: GeneratorName::Features.to_string(),
        langevin,
        classes: Classes::default(),
        training: Default::default(),
    };
    let mut staged = StagedBundle::stage(out, spec, &graphs, false)?;
    if decoder {
        let spec =
            decoder_spec(LATENT_DIM, &image).ok_or("the image is too large for a decoder")?;
        let weights = random_generator(&spec, seed + 4)?;
        staged.write_decoder(&decoder_graph(&spec, &weights)?)?;
    }
    let options = SessionOptions::default();
    let mut inference = Inference::open(runtime, staged.dir(), staged.manifest(), &options)?;
    let sites = rows * columns;
    let stored = inference.preprocess(&random_images(&image, STORED_IMAGES, seed + 2))?;
    let from: Vec<u32> = (0..STORED_IMAGES as u32)
        .flat_map(|image| std::iter::repeat_n(image, sites))
        .collect();
    let bank = SiteBank::fit(&stored, values, &from, STORED_SITES, seed)?;
    let normal = random_images(&image, model.calibration_images, seed + 3);
    let x = inference.preprocess(&normal)?;
    let scores = inference.score(&x, &langevin, SCORE_SEED, &mut |_| ())?;
    let of_images = scores.chunks(sites).zip(x.chunks(sites * values));
    let parts: Vec<_> = of_images.map(|(scores, x)| bank.parts(scores, x)).collect();
    let rule = Rule {
        weights: [1.0, 1.0],
        by_place: false,
        smoothing: 0.0,
        centre: false,
        share: 0.1,
    };
    let calibration = SiteCalibration::new(bank, SiteGrid { rows, columns }, rule, &parts)?;
    let sums: Vec<_> = scores.chunks(sites).filter_map(sum_sites).collect();
    let calibration = Calibration::from_sites(&sums, calibration)?;
    let mut names = ImageNames::default();
    for image in 0..STORED_IMAGES as u32 {
        names.insert(image, &format!("normal/{image}.png"));
    }
    staged.set_names(&names)?;
    Ok(staged.finish(&calibration, 0.05, decision)?)
}
