//! On CPUs that [`winograd`](super::winograd) has no instructions for.

use crate::convolution::Convolution;
use crate::layer::{Finish, Layer};

pub(super) fn suits(_: &Convolution) -> bool {
    false
}

pub(super) fn layer(_: Convolution, _: [usize; 2], _: &[f32], _: Finish) -> Option<Box<dyn Layer>> {
    None
}
