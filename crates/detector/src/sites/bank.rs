//! Sites of normal images that others are compared with.

use lfbm_kernels::Vectors;

use super::coreset::coreset;
use super::scorer::Parts;
use crate::bytes::{Reader, product};
use crate::error::{CalibrationError, FitError, check_finite, check_length, check_rows};
use crate::nearest::Nearest;
use crate::score::Score;

/// A memory bank: sites of normal images that others are compared with.
#[derive(Clone, PartialEq)]
pub struct SiteBank {
    /// The mean of the sites, D values. It is subtracted from all vectors, since the bounds of a search are the
    /// tighter the shorter they are.
    centre: Vec<f32>,
    sites: Vectors,
    /// The index of the image that each site came from.
    images: Vec<u32>,
}

/// A [`SiteBank`] with sites of further images.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedBank {
    /// The bank.
    pub bank: SiteBank,
    /// How many of its sites are new.
    pub added: usize,
    /// How many stored sites gave way to new ones.
    pub dropped: usize,
    /// The largest distance of one of those to the nearest site that is in the bank now, which is how far a
    /// distance to the nearest site can have risen; 0 where all stayed.
    pub farthest: f32,
}

impl std::fmt::Debug for SiteBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SiteBank")
            .field("sites", &self.len())
            .field("values", &self.values())
            .finish_non_exhaustive()
    }
}

impl SiteBank {
    /// From the sites x (n x `values`) of normal images and the index of the image of each (n). At most
    /// `most_sites` are kept: those that all others are near to, chosen by a greedy coreset.
    ///
    /// # Errors
    /// When the lengths do not fit, there are no sites or none are to be kept, or a value is NaN or
    /// infinite.
    pub fn fit(
        x: &[f32],
        values: usize,
        images: &[u32],
        most_sites: usize,
        seed: u64,
    ) -> Result<Self, FitError> {
        check_rows("the sites to compare with", values, x.len())?;
        let n = x.len() / values;
        check_length("the images of sites", n, images.len())?;
        if n.min(most_sites) == 0 {
            return Err(FitError::TooFew {
                what: "sites to compare with",
                fewest: 1,
                got: 0,
            });
        }
        check_finite("the sites to compare with", x.iter().map(|v| v.is_finite()))?;
        let chosen = coreset(x, values, most_sites, seed);
        let rows = || chosen.iter().map(|&index| &x[index * values..][..values]);
        let mut sums = vec![0.0_f64; values];
        for row in rows() {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        let mean = sums.iter().map(|sum| (sum / chosen.len() as f64) as f32);
        let centre: Vec<f32> = mean.collect();
        let centred: Vec<f32> = rows().flat_map(|row| subtract(row, &centre)).collect();
        let images = chosen.iter().map(|&index| images[index]).collect();
        Self::assemble(centre, centred, images)
    }

    /// With the sites x (n x D) of further normal images, and the index of the image of each (n). At most
    /// `most_sites` of both are kept, and where that is not enough for all, at most a half of them, or the room
    /// that is free, is for new ones: those, and the stored ones that stay, are chosen by the greedy
    /// coreset of [`Self::fit`]. With twice as many as are stored, all of these stay, and no distance to the
    /// nearest site is larger than before.
    ///
    /// # Errors
    /// When the lengths do not fit, none are to be kept, or a value is NaN or infinite.
    pub fn extended(
        &self,
        x: &[f32],
        images: &[u32],
        most_sites: usize,
        seed: u64,
    ) -> Result<ExtendedBank, FitError> {
        let values = self.values();
        check_rows("the sites to add", values, x.len())?;
        check_length("the images of sites", x.len() / values, images.len())?;
        check_finite("the sites to add", x.iter().map(|value| value.is_finite()))?;
        if most_sites == 0 {
            return Err(FitError::TooFew {
                what: "sites to compare with",
                fewest: 1,
                got: 0,
            });
        }
        // The centre stays, so that stored sites are not rounded again.
        let stored = self.sites.rows();
        let new: Vec<f32> = x
            .chunks_exact(values)
            .flat_map(|row| subtract(row, &self.centre))
            .collect();
        let finite = new.iter().map(|value| value.is_finite());
        check_finite("sites less their centre", finite)?;
        let room = most_sites.saturating_sub(self.len()).max(most_sites / 2);
        let added = some(&new, values, room, seed);
        let kept = some(stored, values, most_sites - added.len(), seed);
        let row = |of: &'_ [f32], index: usize| of[index * values..][..values].to_vec();
        let centred = kept.iter().flat_map(|&index| row(stored, index));
        let centred: Vec<f32> = centred
            .chain(added.iter().flat_map(|&index| row(&new, index)))
            .collect();
        let of_image = kept.iter().map(|&index| self.images[index]);
        let of_image = of_image.chain(added.iter().map(|&index| images[index]));
        let bank = Self::assemble(self.centre.clone(), centred, of_image.collect())?;
        let dropped = (0..self.len()).filter(|index| kept.binary_search(index).is_err());
        let dropped: Vec<f32> = dropped.flat_map(|index| row(stored, index)).collect();
        let distances = bank.sites.nearest(&dropped).into_iter();
        Ok(ExtendedBank {
            added: added.len(),
            dropped: self.len() - kept.len(),
            farthest: distances.map(|(distance, _)| distance).fold(0.0, f32::max),
            bank,
        })
    }

    /// From sites (n x D) whose centre (D) is subtracted.
    fn assemble(centre: Vec<f32>, centred: Vec<f32>, images: Vec<u32>) -> Result<Self, FitError> {
        check_finite("the centre of sites", centre.iter().map(|v| v.is_finite()))?;
        // Of huge sites the difference to the centre overflows.
        check_finite(
            "sites less their centre",
            centred.iter().map(|v| v.is_finite()),
        )?;
        Ok(Self {
            sites: Vectors::new(centred, centre.len()),
            centre,
            images,
        })
    }

    /// The parts of the sites whose x and scores are given.
    pub fn parts(&self, scores: &[Score], x: &[f32]) -> Parts {
        let negative = |score: &Score| -score.log_joint as f32;
        Parts {
            negative_log_joint: scores.iter().map(negative).collect(),
            distance: self.distances(x),
        }
    }

    /// The index of the image that each site came from.
    pub fn images(&self) -> &[u32] {
        &self.images
    }

    /// The index after the largest one of an image that a site came from.
    pub fn next_image(&self) -> u32 {
        let largest = self.images.iter().max();
        largest.map_or(0, |image| image.saturating_add(1))
    }

    /// How many sites.
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size D of a site's vector.
    pub fn values(&self) -> usize {
        self.sites.values()
    }

    /// The nearest site for each of the sites x (S x D). It works on the caller's thread, so that one who has
    /// several images can give each a thread.
    pub fn nearest(&self, x: &[f32]) -> Vec<Nearest> {
        let rows = x.chunks_exact(self.values());
        let centred: Vec<f32> = rows.flat_map(|row| subtract(row, &self.centre)).collect();
        let found = self.sites.nearest(&centred).into_iter();
        found
            .map(|(distance, index)| Nearest {
                distance,
                image: self.images[index],
            })
            .collect()
    }

    /// The Euclidean distance of each of the sites x (S x D) to the nearest one, as [`Self::nearest`] finds
    /// it.
    pub fn distances(&self, x: &[f32]) -> Vec<f32> {
        let nearest = self.nearest(x).into_iter();
        nearest.map(|nearest| nearest.distance).collect()
    }

    /// D and n as little-endian `u64`; the centre (D) and the centred sites (n x D) as little-endian `f32`;
    /// the images (n) as little-endian `u32`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for size in [self.values(), self.len()] {
            out.extend((size as u64).to_le_bytes());
        }
        let floats = self.centre.iter().chain(self.sites.rows());
        out.extend(floats.flat_map(|value| value.to_le_bytes()));
        out.extend(self.images.iter().flat_map(|image| image.to_le_bytes()));
    }

    /// What [`Self::encode`] wrote, and nothing after it.
    ///
    /// # Errors
    /// When the bytes are not as many as their head says, there are no sites, or a value is NaN or
    /// infinite.
    pub fn decode(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let mut reader = Reader::new(bytes);
        let (values, n) = (reader.count()?, reader.count()?);
        let centre = reader.f32s(values)?;
        let rows = product(&[n, values])?;
        let centred = reader.f32s(rows)?;
        let images = reader.u32s(n)?;
        reader.end()?;
        if rows == 0 {
            return Err(CalibrationError::Size);
        }
        Ok(Self::assemble(centre, centred, images)?)
    }
}

/// Indices, ascending, of at most `most` of the vectors x (n x `values`), which may be none.
fn some(x: &[f32], values: usize, most: usize, seed: u64) -> Vec<usize> {
    if x.is_empty() || most == 0 {
        return Vec::new();
    }
    coreset(x, values, most, seed)
}

fn subtract(row: &[f32], centre: &[f32]) -> impl Iterator<Item = f32> {
    row.iter().zip(centre).map(|(value, centre)| value - centre)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random(n: usize, d: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// A bank of twelve sites of three images, all kept.
    fn bank() -> (SiteBank, Vec<f32>) {
        let x = random(12, 3, 1);
        let images: Vec<u32> = (0..12).map(|site| site / 4).collect();
        (SiteBank::fit(&x, 3, &images, 100, 0).unwrap(), x)
    }

    #[test]
    fn a_site_is_nearest_to_itself_and_names_its_image() {
        let (bank, x) = bank();
        assert_eq!((bank.len(), bank.values()), (12, 3));
        for (site, nearest) in bank.nearest(&x).into_iter().enumerate() {
            assert_eq!((nearest.distance, nearest.image), (0.0, site as u32 / 4));
        }
        let moved: Vec<f32> = x[..3].iter().map(|value| value + 1e-3).collect();
        let distance = bank.distances(&moved)[0];
        assert!(
            (distance - 3.0_f32.sqrt() * 1e-3).abs() < 1e-6,
            "{distance}"
        );
    }

    /// Far from zero bounds of `|m|^2 / 2 - x m` exclude nothing, and differences of coordinates keep their digits.
    #[test]
    fn distances_stay_exact_far_from_zero() {
        let (n, d) = (200, 30);
        let far = |x: Vec<f32>| -> Vec<f32> { x.iter().map(|value| value + 3000.0).collect() };
        let (x, queries) = (far(random(n, d, 2)), far(random(50, d, 3)));
        let bank = SiteBank::fit(&x, d, &vec![0; n], n, 0).unwrap();
        for (query, got) in queries.chunks(d).zip(bank.distances(&queries)) {
            let distance = |row: &[f32]| {
                let squares = row.iter().zip(query).map(|(m, x)| (m - x) * (m - x));
                squares.sum::<f32>().sqrt()
            };
            let least = x.chunks(d).map(distance).fold(f32::INFINITY, f32::min);
            assert!((got - least).abs() < 1e-3, "{got} {least}");
        }
    }

    proptest! {
        /// The triangle inequality bounds how far a distance can rise, and where nothing gave way none does.
        #[test]
        fn an_extended_bank_is_bounded_and_says_how_far_distances_rise(
            seed: u64,
            new in 1_usize..30,
            most in 1_usize..50,
        ) {
            let (bank, _) = bank();
            let (x, queries) = (random(new, 3, seed), random(20, 3, seed ^ 1));
            let images = vec![bank.next_image(); new];
            let extended = bank.extended(&x, &images, most, seed).unwrap();
            prop_assert!(extended.bank.len() <= most.min(bank.len() + new));
            prop_assert_eq!(extended.bank.len(), bank.len() - extended.dropped + extended.added);
            let is_new = extended.bank.images.iter().filter(|image| **image == 3);
            prop_assert_eq!(is_new.count(), extended.added);
            let before = bank.distances(&queries).into_iter();
            for (before, after) in before.zip(extended.bank.distances(&queries)) {
                prop_assert!(after <= before + extended.farthest + 1e-5);
            }
            // The stored ones are not forgotten.
            if most >= bank.len() {
                prop_assert!(extended.dropped <= bank.len().div_ceil(2));
            }
            if most >= 2 * bank.len() {
                prop_assert_eq!(extended.dropped, 0);
            }
            if most >= bank.len() + new && extended.added == new {
                prop_assert_eq!(extended.dropped, 0);
                for nearest in extended.bank.nearest(&x) {
                    prop_assert_eq!((nearest.distance, nearest.image), (0.0, 3));
                }
            }
        }
    }

    #[test]
    fn an_extension_by_what_makes_no_site_is_refused_with_the_reason() {
        let (bank, _) = bank();
        let extend = |x: &[f32], images: &[u32], most: usize| {
            bank.extended(x, images, most, 0).unwrap_err().to_string()
        };
        assert_eq!(
            extend(&[0.0; 4], &[0], 5),
            "the sites to add: expected a multiple of 3 values, got 4"
        );
        assert_eq!(
            extend(&[0.0; 6], &[0], 5),
            "the images of sites: expected 2 values, got 1"
        );
        assert_eq!(
            extend(&[0.0, f32::INFINITY, 0.0], &[0], 5),
            "the sites to add: expected finite values, value 1 is NaN or infinite"
        );
        assert_eq!(
            extend(&[0.0; 3], &[0], 0),
            "expected at least 1 sites to compare with, got 0"
        );
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let (bank, _) = bank();
        let mut bytes = Vec::new();
        bank.encode(&mut bytes);
        assert_eq!(SiteBank::decode(&bytes), Ok(bank));
        for length in 0..bytes.len() {
            let error = Err(CalibrationError::Size);
            assert_eq!(SiteBank::decode(&bytes[..length]), error);
        }
        assert_eq!(SiteBank::decode(&[0xff; 64]), Err(CalibrationError::Size));
        assert_eq!(SiteBank::decode(&[0; 16]), Err(CalibrationError::Size));
        bytes[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
        let error = SiteBank::decode(&bytes).unwrap_err();
        assert!(matches!(
            error,
            CalibrationError::Fit(FitError::NotFinite { .. })
        ));
    }

    #[test]
    fn sites_that_make_no_bank_are_refused_with_the_reason() {
        let fit = |x: &[f32], images: &[u32], most: usize| {
            SiteBank::fit(x, 2, images, most, 0)
                .unwrap_err()
                .to_string()
        };
        let few = "expected at least 1 sites to compare with, got 0";
        assert_eq!(fit(&[], &[], 5), few);
        assert_eq!(fit(&[0.0; 4], &[0; 2], 0), few);
        assert_eq!(
            fit(&[0.0; 3], &[0], 5),
            "the sites to compare with: expected a multiple of 2 values, got 3"
        );
        assert_eq!(
            fit(&[0.0; 4], &[0], 5),
            "the images of sites: expected 2 values, got 1"
        );
        assert_eq!(
            fit(&[0.0, f32::NAN], &[0], 5),
            "the sites to compare with: expected finite values, value 1 is NaN or infinite"
        );
    }
}
