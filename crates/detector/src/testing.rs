//! Memory banks for tests.

use crate::error::FitError;
use crate::local::MemoryBank;
use crate::neighbours::Neighbours;

const COMPONENTS: usize = 16;

/// Images to compare others with, of images x of sizes C, H, W, by their first values.
///
/// # Errors
/// When they make no [`MemoryBank`].
pub fn memory_bank_of(x: &[f32], image: [usize; 3]) -> Result<MemoryBank, FitError> {
    let neighbours = |x: &[f32], values: usize| {
        let p = values.min(COMPONENTS);
        // The first values, one a component.
        let basis = (0..values * p).map(|i| f32::from(u8::from(i / p == i % p)));
        Neighbours::new(vec![0.0; values], &basis.collect::<Vec<_>>(), x)
    };
    MemoryBank::fit(x, image, neighbours, neighbours)
}
