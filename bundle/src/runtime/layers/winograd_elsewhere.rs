//! On processors that [`winograd`](super::winograd) has no instructions for.

use super::{Finish, Layer};
use crate::onnx::Geometry;

pub(super) fn suits(_: &Geometry) -> bool {
    false
}

pub(super) fn layer(_: Geometry, _: [usize; 2], _: &[f32], _: Finish) -> Option<Box<dyn Layer>> {
    None
}
