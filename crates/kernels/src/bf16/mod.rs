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
pub(super) use vectors::Vectors;
