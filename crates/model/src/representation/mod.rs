//! From an image to a grid of sites, each a vector of values that one model scores: graphs from
//! `image: [B,C,H,W]`, intensities in [0, 1], to `x: [B,S,D]`, with S = rows x columns sites, row by
//! row, of D values each.

mod axis;
mod contrastive;
mod gradients;
mod hog;
mod joined;
mod network;
mod orientations;
mod sites;
mod spec;
mod tiles;
mod whitening;

use lfbm_onnx::Graph;

pub use contrastive::{CONTRASTIVE_NETWORK, ConvolutionSpec};
pub use joined::joined_graph;
pub use network::{NetworkFeatures, Normalization};
pub use orientations::Orientations;
pub use sites::FeatureGrid;
pub use spec::{NetworkRecord, RepresentationKind, RepresentationSpec};
pub use whitening::{Residual, Whitening, append_whitening};

use crate::error::ModelError;
use crate::image::{Contrast, ImageSpec};
use crate::weights::LayerWeights;

/// Images whose only site is the whole of them are averaged down until neither side has more pixels.
const LARGEST_SIDE: usize = 32;

/// Rows and columns, in pixels, of the blocks that such an image is averaged over. What is left at the ends of
/// its sides is not counted.
pub fn whole_image_blocks(spec: &ImageSpec) -> [usize; 2] {
    let side = spec.height.max(spec.width).div_ceil(LARGEST_SIDE);
    [spec.height, spec.width].map(|pixels| side.min(pixels))
}

/// What the values of a site are.
#[derive(Clone, Debug)]
pub enum Representation<'a> {
    /// The HOG descriptor of the whole image, its only site.
    Hog,
    /// Features of the whole image, its only site, by a small network that has learned on normal images:
    /// weights of the convolutions of [`CONTRASTIVE_NETWORK`].
    Contrastive(&'a [LayerWeights]),
    /// Features of a convolutional network.
    Network(NetworkFeatures<'a>),
    /// Histograms of gradient orientations.
    Orientations(Orientations),
    /// The pixels of non-overlapping tiles.
    Tiles {
        /// Rows and columns of a tile, in pixels.
        side: usize,
    },
}

/// Builds the graph "preprocess" from `image: [B,C,H,W]`, intensities in [0, 1], to `x: [B,S,D]`, and
/// says how its sites lie. The contrast and the value range of `spec` are those of tiles; the other
/// representations take intensities as they are.
///
/// # Errors
/// When a setting does not fit the image, or when `spec` normalises the contrast of an image that is
/// not represented by tiles.
pub fn features_graph(
    representation: &Representation<'_>,
    spec: &ImageSpec,
) -> Result<(Graph, FeatureGrid), ModelError> {
    if spec.pixels() == 0 {
        return Err(ModelError::Spec(format!(
            "the images are {} x {} x {} (channels, rows, columns), expected at least one pixel",
            spec.channels, spec.height, spec.width
        )));
    }
    let tiled = matches!(representation, Representation::Tiles { .. });
    if !tiled && spec.contrast != Contrast::None {
        return Err(ModelError::Spec(
            "contrast is normalised, which only tiles do; set the contrast to none, or use tiles"
                .to_owned(),
        ));
    }
    let (mut graph, values) = match representation {
        Representation::Hog => hog::graph(spec)?,
        Representation::Contrastive(layers) => contrastive::graph(layers, spec)?,
        Representation::Network(features) => features.graph(spec)?,
        Representation::Orientations(orientations) => orientations.graph(spec)?,
        Representation::Tiles { side } => tiles::graph(*side, spec)?,
    };
    let (x, grid) = values.into_rows(&mut graph)?;
    graph.output("x", &x)?;
    graph.simplify();
    Ok((graph, grid))
}
