//! Products in the matrix registers of AMX (Sapphire Rapids and later): factors in bfloat16, sums in
//! single precision.
//!
//! A register holds a tile of 16 rows of 64 bytes. Factors are packed so that a tile is 1 KiB without
//! gaps, which loads several times as fast as rows that lie apart.

mod convolution;
mod linear;
mod packing;
mod registers;
mod rows;

pub(super) use linear::Linear;
pub(super) use registers::{Registers, available, in_cpu};
pub(super) use rows::Rows;
