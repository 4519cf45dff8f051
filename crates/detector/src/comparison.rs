//! What says how unlike an image is to the normal ones nearest to it.

use crate::local::{self, LocalCalibration};
use crate::sites::{self, SiteCalibration};

/// What says how unlike an image is to the normal ones nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// The image as a whole.
    Local(Box<LocalCalibration>),
    /// Its sites.
    Sites(Box<SiteCalibration>),
}

impl From<LocalCalibration> for Comparison {
    fn from(local: LocalCalibration) -> Self {
        Self::Local(Box::new(local))
    }
}

impl From<SiteCalibration> for Comparison {
    fn from(sites: SiteCalibration) -> Self {
        Self::Sites(Box::new(sites))
    }
}

impl Comparison {
    /// How many scores of normal images p-values rank among.
    pub fn ranked(&self) -> usize {
        match self {
            Self::Local(local) => local.ranked(),
            Self::Sites(sites) => sites.ranked(),
        }
    }

    /// How many of the `images` normal images of a fit p-values rank among: the last ones.
    pub(crate) fn ranked_of(&self, images: usize) -> usize {
        match self {
            Self::Local(_) => local::ranked(images),
            Self::Sites(_) => sites::ranked(images),
        }
    }

    /// The fewest normal images that tell a share `false_positive_rate` of them, and make such a
    /// comparison; `None` for a share that no number tells.
    pub fn fewest_images(&self, false_positive_rate: f64) -> Option<usize> {
        match self {
            Self::Local(_) => local::fewest_images(false_positive_rate),
            Self::Sites(_) => sites::fewest_images(false_positive_rate),
        }
    }
}
