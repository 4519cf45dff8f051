//! On CPUs that [`winograd`](super::winograd) has no instructions for.

use crate::geometry::Geometry;
use crate::layer::{Finish, Layer};

pub(super) fn suits(_: &Geometry) -> bool {
    false
}

pub(super) fn layer(_: Geometry, _: [usize; 2], _: &[f32], _: Finish) -> Option<Box<dyn Layer>> {
    None
}
