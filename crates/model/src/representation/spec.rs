//! What x is: the pixels of an image, or a vector for each of its sites.

use serde::{Deserialize, Serialize};

use crate::image::ImageSpec;

/// What a model's x is made of, and how many of them an image has.
///
/// A *site* is a place of a grid over the image: a tile of pixels, or a position of a map of features.
/// Every site has an x of its own, and the model scores each by itself: log p(z_s) + log p(x_s|z_s).
/// A model of whole images is one of a single site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepresentationSpec {
    /// What the values of x are.
    pub kind: RepresentationKind,
    /// Rows of the grid of sites.
    pub rows: usize,
    /// Columns of the grid of sites.
    pub columns: usize,
    /// Number D of values of x.
    pub values: usize,
    /// The feature network, where x is made by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkRecord>,
}

/// What the values of x are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepresentationKind {
    /// Pixels: of the whole image, or of a tile.
    Pixels,
    /// Principal components of the HOG descriptor of the whole image.
    Hog,
    /// Principal components of the features of the whole image, by a network that learned them on the
    /// normal images.
    Contrastive,
    /// Principal components of the HOG descriptor, then those of learned features.
    HogContrastive,
    /// Histograms of gradient orientations around a site.
    Orientations,
    /// Features that a network computes at a site.
    Network,
}

impl RepresentationKind {
    /// The word that settings, manifests and replies have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Hog => "hog",
            Self::Contrastive => "contrastive",
            Self::HogContrastive => "hog_contrastive",
            Self::Orientations => "orientations",
            Self::Network => "network",
        }
    }
}

/// Where the weights of a feature network come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRecord {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: String,
    /// Under which licence; SPDX where there is one.
    pub licence: String,
    /// SHA-256 of the file that it was read from, hexadecimal.
    pub sha256: String,
}

impl RepresentationSpec {
    /// The pixels of whole images.
    pub fn whole_images(image: &ImageSpec) -> Self {
        Self {
            kind: RepresentationKind::Pixels,
            rows: 1,
            columns: 1,
            values: image.pixels(),
            network: None,
        }
    }

    /// Number S of sites.
    pub fn sites(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether x is a whole image, so that pixels can be hidden, and g(z) is an image.
    pub fn is_whole_image(&self) -> bool {
        self.kind == RepresentationKind::Pixels && self.sites() == 1
    }

    /// Shape of one x: C, H, W of a whole image; D, 1, 1 of a site.
    pub fn x_shape(&self, image: &ImageSpec) -> [usize; 3] {
        if self.is_whole_image() {
            image.shape()
        } else {
            [self.values, 1, 1]
        }
    }
}
