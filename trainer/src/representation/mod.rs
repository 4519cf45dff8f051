//! What x is made of: from settings and normal images to the graph that a bundle holds as
//! `preprocess.onnx`.

mod contrastive;
mod features;
mod some_sites;
mod whitening;

use anyhow::{Context, anyhow, bail, ensure};
use indicatif::ProgressBar;
use lfbm_bundle::check_x;
use lfbm_bundle::manifest::{ImageSpec, Manifest, RepresentationKind, RepresentationSpec};
use lfbm_model::{LayerWeights, append_whitening, joined_graph, preprocess_graph};
use lfbm_onnx::Graph;
use lfbm_runtime::{Runtime, evaluate};
use tch::{Device, Tensor};

use crate::data::Dataset;
use crate::memory::free_bytes;
use crate::model::host;
use crate::settings::{RepresentationName, RepresentationSettings, Settings};

use features::{Features, features};
use whitening::{Scaling, fit_whitening};

pub use some_sites::some_sites;

/// Whole images that are preprocessed at the same time.
const WHOLE_AT_ONCE: usize = 4096;
/// Pixels of the images whose sites are in memory at the same time, 32 images of 256 x 256: maps of features are large.
const PIXELS_AT_ONCE: usize = 32 << 16;
/// Sites that the whitening is made of.
const WHITENED: usize = 60_000;
/// Images that they are taken from, where a network takes its time for each, ...
const WHITENED_IMAGES: usize = 1000;
/// ... and where each has thousands of values.
const WHITENED_WHOLE_IMAGES: usize = 16_384;

/// How x is made.
pub struct Representation {
    /// What it is.
    pub spec: RepresentationSpec,
    /// `image: [B,C,H,W]` to x.
    pub preprocess: Graph,
    /// Numbers of values of its parts, which follow one another.
    pub parts: Vec<usize>,
    /// The weights of its network, where it has learned them on the images of the fit.
    pub learned: Option<Vec<LayerWeights>>,
}

/// Makes the representation that the settings name; features are whitened by the images at `indices`. What
/// a network is to learn on them, it learns on `device`, unless it has `learned` it before.
///
/// # Errors
/// When a network is missing or not of images, learning diverges, or a run fails.
pub fn fit_representation(
    all: &Settings,
    image: &ImageSpec,
    dataset: &Dataset,
    indices: &[usize],
    device: Device,
    learned: Option<Vec<LayerWeights>>,
) -> anyhow::Result<Representation> {
    let settings = &all.representation;
    if settings.kind == RepresentationName::Pixels {
        return Ok(Representation {
            spec: RepresentationSpec::whole_images(image),
            preprocess: preprocess_graph(image)?,
            parts: vec![image.pixels()],
            learned: None,
        });
    }
    let learned = match learned {
        None if settings.kind.is_learned() => {
            Some(contrastive::learn(all, image, dataset, indices, device)?)
        }
        learned => learned,
    };
    let features = features(settings, image, learned.as_deref())?.into_iter();
    let parts = features.map(|features| whitened(settings, features, image, dataset, indices));
    let parts: Vec<_> = parts.collect::<anyhow::Result<_>>()?;
    let sizes = parts.iter().map(|part| part.spec.values).collect();
    let Part { spec, preprocess } = match <[Part; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => joined(parts)?,
    };
    Ok(Representation {
        spec,
        preprocess,
        parts: sizes,
        learned,
    })
}

/// Values of x that are made by themselves: all of them, or some that others follow.
struct Part {
    spec: RepresentationSpec,
    preprocess: Graph,
}

/// The features as a part of x: their principal components among the images at `indices`.
fn whitened(
    settings: &RepresentationSettings,
    features: Features,
    image: &ImageSpec,
    dataset: &Dataset,
    indices: &[usize],
) -> anyhow::Result<Part> {
    let grid = features.grid;
    let spec = RepresentationSpec {
        kind: features.kind,
        rows: grid.rows,
        columns: grid.columns,
        values: grid.values,
        network: features.network,
    };
    check_x(image, &spec).map_err(|error| {
        anyhow!("{error}; lower --image-size, or raise representation.tile where x are tiles")
    })?;
    let most = match features.kind {
        RepresentationKind::Network => WHITENED_IMAGES,
        RepresentationKind::Contrastive => WHITENED_WHOLE_IMAGES,
        _ => indices.len(),
    };
    let some = evenly(indices, most);
    eprintln!(
        "principal components of the features of {} images: {} sites of {} values each",
        some.len(),
        grid.sites(),
        grid.values
    );
    let sample = x_of(&features.graph, &spec, image, dataset, &some, WHITENED)?;
    // Digits differ in where their large components are; equal weight of small ones is noise there.
    let scaling = match features.kind {
        RepresentationKind::Hog | RepresentationKind::Contrastive => Scaling::Proportional,
        _ => Scaling::Whitened,
    };
    let components = match (features.kind, settings.kind) {
        (RepresentationKind::Contrastive, RepresentationName::HogContrastive) => {
            settings.contrastive.components
        }
        _ => settings.components,
    };
    let whitening = fit_whitening(&sample, components as i64, scaling, settings.residual)?;
    let values = whitening.basis.shape[1] + usize::from(whitening.residual.is_some());
    Ok(Part {
        spec: RepresentationSpec { values, ..spec },
        preprocess: append_whitening(&features.graph, &whitening)
            .context("the features cannot be reduced")?,
    })
}

/// The parts of an x that has the HOG descriptor and learned features, one after the other.
fn joined(parts: Vec<Part>) -> anyhow::Result<Part> {
    let values = parts.iter().map(|part| part.spec.values).sum();
    let graphs: Vec<_> = parts.into_iter().map(|part| part.preprocess).collect();
    Ok(Part {
        spec: RepresentationSpec {
            kind: RepresentationKind::HogContrastive,
            rows: 1,
            columns: 1,
            values,
            network: None,
        },
        preprocess: joined_graph(&graphs)?,
    })
}

/// At most `count` of the indices, evenly spaced.
pub(crate) fn evenly(indices: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(indices.len());
    let spaced = (0..count).map(|index| indices[index * indices.len() / count]);
    spaced.collect()
}

/// x of the images at `indices` by a graph that makes it as `spec` says, in rows of x's shape; of at most `most` sites,
/// where images have sites.
///
/// # Errors
/// When a run fails.
pub fn x_of(
    preprocess: &Graph,
    spec: &RepresentationSpec,
    image: &ImageSpec,
    dataset: &Dataset,
    indices: &[usize],
    most: usize,
) -> anyhow::Result<Tensor> {
    let runtime = Runtime::load(None)?;
    let whole = spec.is_whole_image();
    let [c, h, w] = spec.x_shape(image);
    let values = c * h * w;
    let sites = spec.sites();
    let bytes = (indices.len() * values * size_of::<f32>()) as u64;
    if let Some(free) = free_bytes().filter(|free| whole && bytes > *free) {
        bail!(
            "the values of {} images take {} MB of memory and {} are free; lower --image-size, give fewer images, or fit \
             a model of sites (--representation tiles or network), which takes some of their sites",
            indices.len(),
            bytes >> 20,
            free >> 20
        );
    }
    let some = some_sites(most, indices.len(), sites);
    let mut x = Vec::new();
    let bar = ProgressBar::new(indices.len() as u64);
    let at_once = if whole {
        WHOLE_AT_ONCE
    } else {
        (PIXELS_AT_ONCE / image.positions()).clamp(1, WHOLE_AT_ONCE)
    };
    for (number, chunk) in indices.chunks(at_once).enumerate() {
        let shape = [chunk.len(), image.channels, image.height, image.width];
        let input = lfbm_onnx::Tensor::new(shape, dataset.gather(chunk));
        for output in evaluate(&runtime, preprocess, &[input])? {
            if whole {
                x.extend(output.data);
                continue;
            }
            for (offset, image) in output.data.chunks(sites * values).enumerate() {
                for site in some.of(number * at_once + offset) {
                    x.extend(&image[site * values..][..values]);
                }
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let shape = [(x.len() / values) as i64, c as i64, h as i64, w as i64];
    Ok(host::to_device(&x, &shape, Device::Cpu))
}

/// Checks that a model makes images, for a `command` that draws them; `by_decoder` those that a decoder makes of latents
/// suffice.
///
/// # Errors
/// When its x are sites.
pub fn check_makes_images(
    manifest: &Manifest,
    command: &str,
    by_decoder: bool,
) -> anyhow::Result<()> {
    let name = RepresentationName::from(&manifest.representation);
    ensure!(
        !name.has_sites() || by_decoder && manifest.has_decoder(),
        "`trainer {command}` draws images, and the model {} makes none: its representation is {name}{}; name a \
         bundle that was fitted with --representation pixels",
        manifest.name,
        if by_decoder {
            ", and it has no decoder"
        } else {
            ""
        }
    );
    Ok(())
}
