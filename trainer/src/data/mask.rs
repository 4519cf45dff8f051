//! Masks: which pixels of an image are visible.

use std::fmt;
use std::str::FromStr;

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::DataError;

/// Which pixels are hidden, as text `KIND:SHARE`, with a share between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mask {
    kind: Kind,
    share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The share of the pixels, at random places.
    SaltAndPepper,
    /// The share of the pixels, by squares at random places that may overlap, whose side is an eighth of the
    /// image's shorter one. The code that the paper's authors published hides 8 x 8 of 64 x 64 pixels so.
    Patches,
    /// A square at a random place, whose side is that share of the image's shorter one.
    Region,
    /// The same square in the centre.
    Centre,
    /// The share of the rows, the lowest ones.
    Lower,
}

/// Sides of a square of [`Kind::Patches`] in the image's shorter side.
const PATCHES: usize = 8;

const KINDS: [(&str, Kind); 5] = [
    ("salt-and-pepper", Kind::SaltAndPepper),
    ("patches", Kind::Patches),
    ("region", Kind::Region),
    ("centre", Kind::Centre),
    ("lower", Kind::Lower),
];

impl FromStr for Mask {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let parse = || {
            let (name, share) = text.split_once(':')?;
            let (_, kind) = KINDS.iter().find(|(known, _)| *known == name)?;
            let share = share
                .parse()
                .ok()
                .filter(|share| 0.0 < *share && *share < 1.0)?;
            Some(Self { kind: *kind, share })
        };
        parse().ok_or_else(|| {
            let kinds: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            DataError::Usage(format!(
                "the mask {text:?}: expected KIND:SHARE, {} and a number between 0 and 1, as in \
                 centre:0.5",
                kinds.join(", ")
            ))
        })
    }
}

impl TryFrom<String> for Mask {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<Mask> for String {
    fn from(mask: Mask) -> Self {
        mask.to_string()
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(_, kind)| *kind == self.kind);
        write!(f, "{}:{}", name.map_or("", |(name, _)| *name), self.share)
    }
}

impl Mask {
    /// Rejects a mask that hides no pixel of such images.
    ///
    /// # Errors
    /// When it does.
    pub fn check(&self, height: usize, width: usize) -> Result<(), DataError> {
        if self.draw(height, width, 0, 0).contains(&0.0) {
            return Ok(());
        }
        Err(DataError::Usage(format!(
            "the mask {self} hides no pixel of images of {width} x {height}; give a larger share"
        )))
    }

    /// The mask of image number `index` under `seed`, H W values: 1 for a visible pixel and 0 for a
    /// hidden one. At least one is visible.
    pub fn draw(&self, height: usize, width: usize, seed: u64, index: usize) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let part = |whole: usize| (self.share * whole as f64) as usize;
        let mut mask = vec![1.0; height * width];
        let mut hide = |top: usize, left: usize, rows: usize, columns: usize| {
            for row in top..top + rows {
                mask[row * width + left..][..columns].fill(0.0);
            }
        };
        let side = part(height.min(width));
        match self.kind {
            Kind::SaltAndPepper => {
                let hidden = part(mask.len());
                mask[..hidden].fill(0.0);
                mask.shuffle(&mut rng);
            }
            Kind::Patches => {
                let side = (height.min(width) / PATCHES).max(1);
                let mut left_over = part(mask.len());
                while left_over > 0 {
                    let top = rng.random_range(0..=height - side);
                    let left = rng.random_range(0..=width - side);
                    for row in top..top + side {
                        for pixel in &mut mask[row * width + left..][..side] {
                            // The last square stops at the share.
                            if *pixel > 0.0 && left_over > 0 {
                                *pixel = 0.0;
                                left_over -= 1;
                            }
                        }
                    }
                }
            }
            Kind::Region => {
                let top = rng.random_range(0..=height - side);
                let left = rng.random_range(0..=width - side);
                hide(top, left, side, side);
            }
            Kind::Centre => hide((height - side) / 2, (width - side) / 2, side, side),
            Kind::Lower => {
                let rows = part(height);
                hide(height - rows, 0, rows, width);
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_a_function_of_seed_and_image() {
        let draw = |text: &str, seed, index| -> Vec<f32> {
            let mask: Mask = text.parse().unwrap();
            assert_eq!(mask.to_string(), text);
            mask.draw(64, 48, seed, index)
        };
        let hidden = |mask: &[f32]| mask.iter().filter(|v| **v == 0.0).count();
        for (text, count) in [
            ("salt-and-pepper:0.5", 32 * 48),
            ("patches:0.5", 32 * 48),
            ("region:0.5", 24 * 24),
            ("centre:0.5", 24 * 24),
            ("lower:0.25", 16 * 48),
        ] {
            let mask = draw(text, 1, 2);
            assert_eq!(hidden(&mask), count, "{text}");
            assert_eq!(mask, draw(text, 1, 2), "{text}");
            let random = !text.starts_with("centre") && !text.starts_with("lower");
            assert_eq!(mask != draw(text, 1, 3), random, "{text}");
            assert_eq!(mask != draw(text, 2, 2), random, "{text}");
        }
        let centre = draw("centre:0.5", 0, 0);
        assert_eq!((centre[20 * 48 + 12], centre[19 * 48 + 12]), (0.0, 1.0));
        assert_eq!((centre[43 * 48 + 35], centre[43 * 48 + 36]), (0.0, 1.0));
    }

    #[test]
    fn patches_are_squares_and_leave_a_pixel() {
        let draw = |text: &str, height, width| {
            let mask: Mask = text.parse().unwrap();
            mask.draw(height, width, 0, 0)
        };
        // Less than the 6 x 6 of a square: the first rows of one.
        let mask = draw("patches:0.005", 64, 48);
        let hidden: Vec<usize> = (0..mask.len()).filter(|&i| mask[i] == 0.0).collect();
        let rows = [&hidden[..6], &hidden[6..12], &hidden[12..]];
        for (index, row) in rows.into_iter().enumerate() {
            let first = hidden[0] + index * 48;
            assert_eq!(row, Vec::from_iter(first..first + row.len()));
        }
        assert_eq!(hidden.len(), 15);
        for (height, width) in [(28, 28), (5, 7), (1, 2)] {
            let mask = draw("patches:0.9999", height, width);
            let visible = mask.iter().filter(|v| **v > 0.0).count();
            assert_eq!(visible, 1, "{height} x {width}");
        }
    }

    #[test]
    fn a_mask_that_hides_nothing_is_refused() {
        for (text, hides) in [
            ("salt-and-pepper:0.0001", false),
            ("salt-and-pepper:0.01", true),
            ("patches:0.0001", false),
            ("region:0.03", false),
            ("centre:0.04", true),
            ("lower:0.03", false),
        ] {
            let mask: Mask = text.parse().unwrap();
            assert_eq!(mask.check(28, 28).is_ok(), hides, "{text}");
        }
    }

    #[test]
    fn a_mask_that_is_none_says_what_is_expected() {
        for text in [
            "",
            "centre",
            "centre:1",
            "centre:0",
            "middle:0.5",
            "lower:x",
        ] {
            let error = text.parse::<Mask>().unwrap_err().to_string();
            assert!(
                error.contains("salt-and-pepper, patches, region"),
                "{error}"
            );
        }
    }
}
