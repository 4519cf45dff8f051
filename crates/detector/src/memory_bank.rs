//! Normal images that others are compared with.

use crate::bytes::{Reader, product};
use crate::error::{CalibrationError, FitError, check_length, check_rows};
use crate::hog::Hog;
use crate::nearest::Nearest;
use crate::neighbours::{KnnDistance, Neighbours};

/// What a local score is made of, each high for an anomaly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// `-log_joint`, in nats.
    pub negative_log_joint: f64,
    /// How far the nearest normal images are, in units of x.
    pub pixels: KnnDistance,
    /// How far those with the nearest HOG descriptors are.
    pub edges: KnnDistance,
}

/// The normal images that are nearest to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearestImages {
    /// In the principal components of x.
    pub pixels: Nearest,
    /// In those of HOG descriptors.
    pub edges: Nearest,
}

/// The normal images that others are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryBank {
    pixels: Neighbours,
    hog: Hog,
    edges: Neighbours,
}

impl MemoryBank {
    /// From images x (n x C H W) of sizes C, H, W. `pixels` and `edges` build a search index from concatenated
    /// vectors and the length of one: images, and HOG descriptors.
    ///
    /// # Errors
    /// When the sizes do not fit, or one of the two functions fails.
    pub fn fit<E: From<FitError>>(
        x: &[f32],
        image: [usize; 3],
        pixels: impl FnOnce(&[f32], usize) -> Result<Neighbours, E>,
        edges: impl FnOnce(&[f32], usize) -> Result<Neighbours, E>,
    ) -> Result<Self, E> {
        let hog = Hog::new(image)?;
        let values = image.iter().product();
        check_rows("the images to compare with", values, x.len())?;
        let of_edges: Vec<f32> = x.chunks(values).flat_map(|x| hog.of(x)).collect();
        let edges = edges(&of_edges, hog.size())?;
        Ok(Self::new(pixels(x, values)?, hog, edges)?)
    }

    /// With further images x (n x C H W). Of the stored images a random subset stays, so that there are at most
    /// `most`.
    ///
    /// # Errors
    /// When the last image is not whole, `most` leaves too few images, or a value is NaN or infinite.
    pub fn extended(&self, x: &[f32], most: usize, seed: u64) -> Result<Self, FitError> {
        let values = self.pixels.values();
        check_rows("the images to add", values, x.len())?;
        let of_edges: Vec<f32> = x.chunks(values).flat_map(|x| self.hog.of(x)).collect();
        Self::new(
            self.pixels.extended(x, most, seed)?,
            self.hog.clone(),
            self.edges.extended(&of_edges, most, seed)?,
        )
    }

    /// Values of an image: C H W.
    pub fn values(&self) -> usize {
        self.pixels.values()
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.pixels.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// From images x, and their HOG descriptors made by `hog`.
    fn new(pixels: Neighbours, hog: Hog, edges: Neighbours) -> Result<Self, FitError> {
        let values = hog.image().iter().product();
        check_length("an image to compare with", values, pixels.values())?;
        check_length(
            "a HOG descriptor to compare with",
            hog.size(),
            edges.values(),
        )?;
        Ok(Self { pixels, hog, edges })
    }

    /// C, H, W of the images.
    pub fn image(&self) -> [usize; 3] {
        self.hog.image()
    }

    pub(crate) fn parts(&self, x: &[f32], log_joint: f64) -> Parts {
        Parts {
            negative_log_joint: -log_joint,
            pixels: self.pixels.knn_distance(x),
            edges: self.edges.knn_distance(&self.hog.of(x)),
        }
    }

    /// The numbers of the images, by which their files are named, if they have some.
    pub fn numbers(&self) -> Option<&[u32]> {
        self.pixels.numbers()
    }

    /// The number after the largest one, which [`Self::extended`] gives to the first new image.
    pub fn next_number(&self) -> u32 {
        self.pixels.next_number()
    }

    /// The images nearest to x, D values, in pixels and by HOG descriptors; `None` where a value is NaN, or
    /// images have no numbers.
    pub fn nearest(&self, x: &[f32]) -> Option<NearestImages> {
        Some(NearestImages {
            pixels: self.pixels.nearest(x)?,
            edges: self.edges.nearest(&self.hog.of(x))?,
        })
    }

    /// C, H and W as little-endian `u64`; the neighbours in pixels and in HOG descriptors.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let sizes = self.image().map(|size| size as u64);
        out.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        self.pixels.encode(out);
        self.edges.encode(out);
    }

    /// What [`Self::encode`] wrote, and nothing after it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let mut reader = Reader::new(bytes);
        let image = [reader.count()?, reader.count()?, reader.count()?];
        let pixels = Neighbours::decode(&mut reader)?;
        let edges = Neighbours::decode(&mut reader)?;
        reader.end()?;
        // The claimed sizes are checked before `Hog::new` multiplies them.
        if product(&image)? != pixels.values() {
            return Err(CalibrationError::Size);
        }
        Ok(Self::new(pixels, Hog::new(image)?, edges)?)
    }
}
