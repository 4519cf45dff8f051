//! Products in bfloat16 on a CPU that has instructions for them.
//!
//! Operands are rounded to bfloat16, and products are added up in single precision. A row of a layer
//! does not depend on the other rows, to the last bit.

mod linear;
mod tile;
mod vectors;

pub(super) use linear::Linear;
use tile::Sums;
pub use tile::available;
pub(super) use tile::{LANES, Right, Starts, pair};
pub(super) use vectors::Vectors;

/// The nearest bfloat16, to even; NaN stays NaN.
#[inline(always)]
pub(super) fn nearest(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if value.is_nan() { 0x7fc0 } else { rounded }) as u16
}
