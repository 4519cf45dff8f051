//! Settings of what x is made of.

use std::fmt;
use std::path::{Path, PathBuf};

use lfbm_bundle::manifest::{RepresentationKind, RepresentationSpec};
use serde::{Deserialize, Serialize};

use crate::fit::ChainPrecision;

/// The network that `make network` fetches.
pub(crate) const LITE0: &str = "efficientnet-lite0";

/// Settings of what x is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepresentationSettings {
    /// What the values of x are.
    pub kind: RepresentationName,
    /// Side of a tile in pixels.
    pub tile: usize,
    /// Principal components that the features of a site are reduced to, each of variance 1; those of
    /// HOG descriptors and of learned features keep their proportions, and have variance 1 in the mean.
    pub components: usize,
    /// Whether x has a value more for each kind of features, the length of what their components leave out.
    #[serde(default)]
    pub residual: bool,
    /// The feature network: `efficientnet-lite0`, or an ONNX file.
    pub network: PathBuf,
    /// Outputs of the network whose features are taken.
    pub taps: Vec<String>,
    /// Pixels that an image is continued by on each side, by reflection, before the network.
    pub border: usize,
    /// How features are learned, where they are.
    #[serde(default)]
    pub contrastive: ContrastiveSettings,
}

impl RepresentationSettings {
    /// Whether a feature network is the one that is made for images of any size.
    pub fn is_lite0(&self) -> bool {
        self.network == Path::new(LITE0)
    }

    /// Whether images may be squares of `side` pixels, for all that is known: a user's network may be of one size alone.
    pub fn may_have_side(&self, side: usize) -> bool {
        match self.kind {
            RepresentationName::Network => self.is_lite0(),
            RepresentationName::Tiles => side.is_multiple_of(self.tile),
            _ => true,
        }
    }
}

/// Contrastive learning of features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveSettings {
    /// Iterations.
    pub iterations: u64,
    /// Images of an iteration, of which each has two views.
    pub batch_size: usize,
    /// What similarities are divided by.
    pub temperature: f64,
    /// The largest learning rate of `AdamW`.
    pub learning_rate: f64,
    /// Its weight decay.
    pub weight_decay: f64,
    /// What convolutions are computed in.
    pub precision: ChainPrecision,
    /// Principal components that learned features are reduced to where they follow a HOG descriptor.
    pub components: usize,
}

/// The default, for runs that were recorded before these settings existed.
impl Default for ContrastiveSettings {
    fn default() -> Self {
        Self {
            iterations: 1200,
            batch_size: 128,
            temperature: 0.2,
            learning_rate: 3e-3,
            weight_decay: 0.01,
            precision: ChainPrecision::F32,
            components: 20,
        }
    }
}

/// What the values of x are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RepresentationName {
    /// The pixels of the whole image: one x an image.
    #[default]
    Pixels,
    /// The HOG descriptor of the whole image: one x an image.
    Hog,
    /// Features that a network learns on the normal images: one x an image.
    Contrastive,
    /// The HOG descriptor and these features: one x an image.
    HogContrastive,
    /// The pixels of tiles: one x a tile.
    Tiles,
    /// Histograms of gradient orientations: one x a cell of the image.
    Orientations,
    /// Features of a network: one x a position of its maps.
    Network,
}

impl fmt::Display for RepresentationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl From<&RepresentationSpec> for RepresentationName {
    fn from(spec: &RepresentationSpec) -> Self {
        match spec.kind {
            RepresentationKind::Pixels if spec.is_whole_image() => Self::Pixels,
            RepresentationKind::Pixels => Self::Tiles,
            RepresentationKind::Hog => Self::Hog,
            RepresentationKind::Contrastive => Self::Contrastive,
            RepresentationKind::HogContrastive => Self::HogContrastive,
            RepresentationKind::Orientations => Self::Orientations,
            RepresentationKind::Network => Self::Network,
        }
    }
}

impl RepresentationName {
    /// Whether x are pixels, of the whole image or of a tile.
    pub fn is_of_pixels(self) -> bool {
        matches!(self, Self::Pixels | Self::Tiles)
    }

    /// Whether a network learns features on the normal images.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Contrastive | Self::HogContrastive)
    }

    /// Whether an image has many sites.
    pub fn has_many_sites(self) -> bool {
        matches!(self, Self::Tiles | Self::Orientations | Self::Network)
    }

    /// Whether x are of the sites of a grid; that of a HOG descriptor, or of learned features, has one.
    pub fn has_sites(self) -> bool {
        self != Self::Pixels
    }
}
