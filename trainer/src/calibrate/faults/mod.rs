//! Faults that are drawn into normal images: what a recipe is chosen by, without faulty images.
//!
//! Four kinds, after the literature: patches of other images (CutPaste and its scars: Li et al., CVPR
//! 2021), thin scratches, spots of another texture under smooth noise (DRAEM: Zavrtanik et al., ICCV
//! 2021), and places without detail. Their strength goes from hardly visible to clear.

mod layers;
mod outline;
mod smooth;
mod walk;

use rand::Rng;
use rand::seq::IndexedRandom;

use layers::Layer;
use smooth::mix;

/// The mean change of a fault's pixels, in the channel that it changes most: two of 255 levels.
const LEAST_CHANGE: f32 = 2.0 / 255.0;
/// How often a fault that changes too little is drawn anew.
const ATTEMPTS: usize = 8;
/// A pixel belongs to the fault if the fault covers this share of it.
const COVERED: f32 = 0.5;

/// What a drawn fault looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A piece of another image, turned, scaled, brighter or darker.
    Patch,
    /// Scratches and cracks: random walks, one to three pixels wide, darker or lighter.
    Scratch,
    /// A spot or smear of another texture.
    Spot,
    /// A place that is blurred or flat.
    Erased,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Patch, Self::Scratch, Self::Spot, Self::Erased];
}

/// Channels, rows and columns of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    fn positions(self) -> usize {
        self.height * self.width
    }

    fn values(self) -> usize {
        self.channels * self.positions()
    }

    fn shorter_side(self) -> f32 {
        self.height.min(self.width) as f32
    }
}

/// Why no fault can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// An image has another shape.
    #[error("an image to draw a fault with has {got} values, its shape {expected}")]
    Shape {
        /// Values of the shape.
        expected: usize,
        /// Values of the image.
        got: usize,
    },
    /// There is no room.
    #[error("faults need images of 8 x 8 pixels at least, this one has {height} x {width}")]
    TooSmall {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// An image with a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Faulty {
    /// The intensities in [0, 1], C H W.
    pub image: Vec<f32>,
    /// 1 where the fault is, H W.
    pub mask: Vec<u8>,
    /// What it looks like.
    pub kind: FaultKind,
}

/// `image` with a fault of a random kind; `other` is another normal image, from which faults take their
/// texture. Both have C H W intensities in [0, 1]. The same images and state of `rng` give the same
/// fault.
///
/// # Errors
/// When an image does not have the `shape`, or the images are smaller than 8 x 8.
pub fn draw_fault(
    image: &[f32],
    shape: Shape,
    other: &[f32],
    rng: &mut impl Rng,
) -> Result<Faulty, FaultError> {
    let kind = FaultKind::ALL.choose(rng).copied();
    draw_fault_of(kind.unwrap_or(FaultKind::Scratch), image, shape, other, rng)
}

/// As [`draw_fault`], of a given kind. Where the image cannot show that kind, as a flat one cannot show
/// what is erased, the fault is a scratch.
///
/// # Errors
/// As [`draw_fault`].
pub fn draw_fault_of(
    kind: FaultKind,
    image: &[f32],
    shape: Shape,
    other: &[f32],
    rng: &mut impl Rng,
) -> Result<Faulty, FaultError> {
    for got in [image.len(), other.len()] {
        let expected = shape.values();
        if got != expected {
            return Err(FaultError::Shape { expected, got });
        }
    }
    let Shape { height, width, .. } = shape;
    if height.min(width) < 8 {
        return Err(FaultError::TooSmall { height, width });
    }
    for _ in 0..ATTEMPTS {
        let layer = match kind {
            FaultKind::Patch => layers::patch(shape, other, rng),
            FaultKind::Scratch => layers::scratch(image, shape, rng),
            FaultKind::Spot => layers::spot(shape, other, rng),
            FaultKind::Erased => layers::erased(image, shape, rng),
        };
        let (faulty, change) = blend(image, shape, &layer, kind);
        if change >= LEAST_CHANGE {
            return Ok(faulty);
        }
    }
    let layer = layers::clear_scratch(image, shape, rng);
    Ok(blend(image, shape, &layer, FaultKind::Scratch).0)
}

/// The image under the layer, and the mean change of the fault's pixels in the channel that changes
/// most.
fn blend(image: &[f32], shape: Shape, layer: &Layer, kind: FaultKind) -> (Faulty, f32) {
    let mask: Vec<u8> = layer
        .coverage
        .iter()
        .map(|&coverage| u8::from(coverage >= COVERED))
        .collect();
    let pixels = mask.iter().filter(|&&value| value == 1).count().max(1);
    let mut changed = image.to_vec();
    let mut most = 0.0f32;
    let planes = changed
        .chunks_exact_mut(shape.positions())
        .zip(layer.texture.chunks_exact(shape.positions()));
    for (plane, texture) in planes {
        let mut change = 0.0;
        for (position, value) in plane.iter_mut().enumerate() {
            let share = layer.opacity * layer.coverage[position];
            let after = mix(*value, texture[position], share).clamp(0.0, 1.0);
            change += f32::from(mask[position]) * (after - *value).abs();
            *value = after;
        }
        most = most.max(change / pixels as f32);
    }
    let faulty = Faulty {
        image: changed,
        mask,
        kind,
    };
    (faulty, most)
}

#[cfg(test)]
mod tests;
