//! How well maps of an anomaly score find the faulty pixels.
//!
//! The per-region overlap is that of Bergmann et al., *The MVTec Anomaly Detection Dataset*, IJCV 129
//! (2021), section 4.3.2. At a threshold t, the pixels that score at least t are found, and
//!
//! ```text
//! PRO(t) = 1/K sum_k |found(t) and region_k| / |region_k|
//! FPR(t) = |found(t) and fault-free| / |fault-free|
//! ```
//!
//! over the K connected regions of all masks and the fault-free pixels of all images. A small region
//! counts for as much as a large one. AUPRO is the area under PRO over FPR from 0 to
//! [`FALSE_POSITIVE_LIMIT`], divided by that limit.
//!
//! Both areas are exact, with straight lines between thresholds. They take 8 bytes for a faulty pixel
//! and 4 for a fault-free one; of more than [`MOST_FAULT_FREE`] fault-free pixels every k-th is used.

use rayon::prelude::*;
use serde::Serialize;

use super::regions::regions;

/// AUPRO ends at this false-positive rate, as the literature's does.
pub const FALSE_POSITIVE_LIMIT: f64 = 0.3;
/// Fault-free pixels that are compared, at most: 256 MiB.
pub const MOST_FAULT_FREE: usize = 1 << 26;

/// Why a map cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The map has other pixels than the mask.
    #[error("a map has {scores} values and its mask {mask}; they must be as many")]
    Sizes {
        /// Values of the map.
        scores: usize,
        /// Values of the mask.
        mask: usize,
    },
    /// The pixels are not whole rows.
    #[error("a map has {pixels} values, which are no rows of {width}")]
    Rows {
        /// Values of the map.
        pixels: usize,
        /// Values of a row.
        width: usize,
    },
}

/// The map of an image and its ground truth.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredMap<'a> {
    scores: &'a [f32],
    mask: &'a [u8],
    width: usize,
}

impl<'a> MeasuredMap<'a> {
    /// The `scores` of an image's pixels, H x W, high where it is anomalous, and the ground-truth
    /// `mask` of the same shape: not 0 where the image is faulty, empty for an image without fault.
    ///
    /// # Errors
    /// When the sizes do not fit each other.
    pub fn new(scores: &'a [f32], mask: &'a [u8], width: usize) -> Result<Self, MapError> {
        if !mask.is_empty() && scores.len() != mask.len() {
            return Err(MapError::Sizes {
                scores: scores.len(),
                mask: mask.len(),
            });
        }
        if width == 0 || !scores.len().is_multiple_of(width) {
            return Err(MapError::Rows {
                pixels: scores.len(),
                width,
            });
        }
        Ok(Self {
            scores,
            mask,
            width,
        })
    }

    /// The scores of the fault-free pixels.
    fn fault_free(&self) -> impl Iterator<Item = f32> + use<'a> {
        let mask = self.mask;
        let pixels = self.scores.iter().enumerate();
        pixels
            .filter(|(pixel, _)| mask.get(*pixel).is_none_or(|&value| value == 0))
            .map(|(_, &score)| score)
    }
}

/// How well maps find faulty pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PixelDetection {
    /// Area under the receiver operating characteristic of all pixels.
    pub auroc: f64,
    /// Area under the per-region overlap up to [`FALSE_POSITIVE_LIMIT`], between 0 and 1.
    pub aupro: f64,
    /// The largest harmonic mean of precision and recall over all thresholds.
    pub f1_max: f64,
    /// The number of faulty regions.
    pub regions: usize,
}

/// The metrics of all `maps` together. `None` without a faulty or without a fault-free pixel.
pub fn pixel_detection(maps: &[MeasuredMap<'_>]) -> Option<PixelDetection> {
    measured(maps, MOST_FAULT_FREE)
}

/// The metrics with `most` fault-free pixels at most.
fn measured(maps: &[MeasuredMap<'_>], most: usize) -> Option<PixelDetection> {
    let count: usize = maps.iter().map(|map| map.fault_free().count()).sum();
    let stride = count.div_ceil(most.max(1)).max(1);
    let fault_free = maps.iter().flat_map(MeasuredMap::fault_free);
    let mut fault_free: Vec<f32> = fault_free.step_by(stride).collect();
    fault_free.par_sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut faulty, mut number) = (Vec::new(), 0);
    for map in maps {
        for region in regions(map.mask, map.width) {
            number += 1;
            let weight = 1.0 / region.len() as f32;
            faulty.extend(region.iter().map(|&pixel| (map.scores[pixel], weight)));
        }
    }
    if fault_free.is_empty() || faulty.is_empty() {
        return None;
    }
    faulty.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let points = thresholds(&faulty, &fault_free);
    let (pixels, regions) = (faulty.len() as f64, f64::from(number));
    let [mut roc, mut overlap] = [Area::up_to(1.0), Area::up_to(FALSE_POSITIVE_LIMIT)];
    let mut f1_max = 0.0f64;
    for Found {
        faulty,
        weight,
        fault_free: alarms,
    } in points
    {
        let rate = alarms as f64 / fault_free.len() as f64;
        roc.extend(rate, faulty as f64 / pixels);
        overlap.extend(rate, weight / regions);
        let found = faulty as f64 + rate * count as f64;
        f1_max = f1_max.max(2.0 * faulty as f64 / (found + pixels));
    }
    Some(PixelDetection {
        auroc: roc.mean(),
        aupro: overlap.mean(),
        f1_max,
        regions: number as usize,
    })
}

/// What scores at least a threshold.
struct Found {
    /// Faulty pixels.
    faulty: usize,
    /// The sum of their weights.
    weight: f64,
    /// Fault-free pixels.
    fault_free: usize,
}

/// What is found at each threshold, from the strictest to the loosest: one for each distinct score,
/// because ties cannot be separated. Both slices descend.
fn thresholds<'a>(
    faulty: &'a [(f32, f32)],
    fault_free: &'a [f32],
) -> impl Iterator<Item = Found> + use<'a> {
    let (mut hits, mut alarms, mut weight) = (0, 0, 0.0);
    std::iter::from_fn(move || {
        let next = [
            faulty.get(hits).map(|(score, _)| *score),
            fault_free.get(alarms).copied(),
        ];
        let threshold = next.into_iter().flatten().max_by(f32::total_cmp)?;
        let reached = |score: f32| score.total_cmp(&threshold).is_ge();
        while let Some((_, of_pixel)) = faulty.get(hits).filter(|pixel| reached(pixel.0)) {
            hits += 1;
            weight += f64::from(*of_pixel);
        }
        while fault_free.get(alarms).is_some_and(|&score| reached(score)) {
            alarms += 1;
        }
        Some(Found {
            faulty: hits,
            weight,
            fault_free: alarms,
        })
    })
}

/// The area under straight lines from (0, 0) through points whose x does not fall.
struct Area {
    limit: f64,
    last: (f64, f64),
    sum: f64,
}

impl Area {
    fn up_to(limit: f64) -> Self {
        Self {
            limit,
            last: (0.0, 0.0),
            sum: 0.0,
        }
    }

    fn extend(&mut self, x: f64, y: f64) {
        let (last_x, last_y) = self.last;
        self.last = (x, y);
        if x <= last_x || last_x >= self.limit {
            return;
        }
        let end = x.min(self.limit);
        let y_at_end = last_y + (y - last_y) * (end - last_x) / (x - last_x);
        self.sum += (end - last_x) * (last_y + y_at_end) / 2.0;
    }

    /// The mean height.
    fn mean(&self) -> f64 {
        self.sum / self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 10;
    const PIXELS: usize = WIDTH * WIDTH;

    /// A mask with a rectangle for each of `regions`: top, left, rows, columns.
    fn mask(regions: &[[usize; 4]]) -> Vec<u8> {
        let mut mask = vec![0; PIXELS];
        for &[top, left, rows, columns] in regions {
            for row in top..top + rows {
                mask[row * WIDTH + left..][..columns].fill(1);
            }
        }
        mask
    }

    fn detection(scores: &[f32], mask: &[u8]) -> PixelDetection {
        let map = MeasuredMap::new(scores, mask, WIDTH).unwrap();
        pixel_detection(&[map]).unwrap()
    }

    fn is_near(got: f64, expected: f64) -> bool {
        (got - expected).abs() < 1e-6
    }

    #[test]
    fn a_perfect_map_has_all_areas_and_its_negative_none() {
        let mask = mask(&[[1, 1, 2, 3], [7, 7, 1, 1]]);
        let scores: Vec<f32> = mask.iter().map(|&value| f32::from(value)).collect();
        let perfect = detection(&scores, &mask);
        assert!(is_near(perfect.auroc, 1.0) && is_near(perfect.aupro, 1.0));
        assert_eq!((perfect.f1_max, perfect.regions), (1.0, 2));
        let turned: Vec<f32> = scores.iter().map(|score| -score).collect();
        let turned = detection(&turned, &mask);
        assert_eq!((turned.auroc, turned.aupro), (0.0, 0.0));
        // Everything is called faulty: precision 7 of 100, recall 1.
        assert!(is_near(turned.f1_max, 14.0 / 107.0), "{turned:?}");
    }

    #[test]
    fn a_constant_map_is_chance() {
        let constant = detection(&[2.5; PIXELS], &mask(&[[0, 0, 3, 3]]));
        // PRO = FPR: 0.3 * 0.3 / 2 over 0.3.
        assert!(is_near(constant.auroc, 0.5) && is_near(constant.aupro, 0.15));
    }

    #[test]
    fn turning_a_map_without_ties_turns_its_curve() {
        let mask = mask(&[[2, 3, 4, 4]]);
        let scores: Vec<f32> = (0..PIXELS)
            .map(|pixel| ((pixel * 37) % 101) as f32)
            .collect();
        let turned: Vec<f32> = scores.iter().map(|score| -score).collect();
        let sum = detection(&scores, &mask).auroc + detection(&turned, &mask).auroc;
        assert!(is_near(sum, 1.0), "{sum}");
    }

    /// Nine faulty pixels in a region of eight and one of one; 91 are fault-free.
    #[test]
    fn areas_by_hand() {
        let mask = mask(&[[0, 0, 2, 4], [9, 9, 1, 1]]);
        let mut scores = vec![0.0; PIXELS];
        // The large region, then a seventh of the fault-free pixels, then the small region.
        for (score, &faulty) in scores.iter_mut().zip(&mask) {
            *score = if faulty == 1 { 3.0 } else { 0.0 };
        }
        scores[99] = 1.0;
        scores[50..63].fill(2.0);
        let got = detection(&scores, &mask);
        // (0, 8/9), (1/7, 8/9), (1/7, 1), (1, 1)
        assert!(is_near(got.auroc, 8.0 / 9.0 / 7.0 + 6.0 / 7.0), "{got:?}");
        // (0, 1/2), (1/7, 1/2), (1/7, 1), up to 0.3
        let aupro = (0.5 / 7.0 + (0.3 - 1.0 / 7.0)) / 0.3;
        assert!(is_near(got.aupro, aupro), "{got:?}");
        // The best threshold finds the large region only: precision 1, recall 8/9.
        assert!(is_near(got.f1_max, 16.0 / 17.0), "{got:?}");
    }

    #[test]
    fn overlap_counts_regions_and_auroc_pixels() {
        // One of two regions is found, the other scores below everything.
        let of = |found: [usize; 4], missed: [usize; 4]| {
            let mut scores = vec![0.0; PIXELS];
            for (rectangle, value) in [(found, 1.0), (missed, -1.0)] {
                let of_region = mask(&[rectangle]);
                for (score, _) in scores.iter_mut().zip(of_region).filter(|(_, m)| *m == 1) {
                    *score = value;
                }
            }
            detection(&scores, &mask(&[found, missed]))
        };
        let large = of([0, 0, 5, 5], [9, 9, 1, 1]);
        let small = of([9, 9, 1, 1], [0, 0, 5, 5]);
        // PRO rises from 1/2 at 0 to 1/2 at 1, whatever the sizes.
        assert!(is_near(large.aupro, 0.5) && is_near(small.aupro, 0.5));
        assert!(is_near(large.auroc, 25.0 / 26.0), "{large:?}");
        assert!(is_near(small.auroc, 1.0 / 26.0), "{small:?}");
    }

    #[test]
    fn images_without_fault_add_false_positives() {
        let faulty = mask(&[[0, 0, 1, 1]]);
        let mut scores = vec![0.0; PIXELS];
        scores[0] = 1.0;
        let alarming = [2.0; PIXELS];
        let maps = [(&scores[..], &faulty[..]), (&alarming[..], &[][..])]
            .map(|(scores, mask)| MeasuredMap::new(scores, mask, WIDTH).unwrap());
        // 100 of 199 fault-free pixels score more than the fault.
        let got = pixel_detection(&maps).unwrap();
        assert!(is_near(got.auroc, 99.0 / 199.0), "{got:?}");
        assert_eq!(got.aupro, 0.0);
        assert_eq!(pixel_detection(&maps[1..]), None);
    }

    /// Three fault-free pixels in succession are alike, so every third tells all.
    #[test]
    fn every_third_fault_free_pixel_stands_for_all() {
        let mask = mask(&[[2, 3, 4, 4]]);
        let mut fault_free = 0;
        let scores: Vec<f32> = (0..PIXELS)
            .map(|pixel| {
                if mask[pixel] == 1 {
                    return (pixel % 7 * 4 + 14) as f32;
                }
                fault_free += 1;
                ((fault_free - 1) / 3 * 11 % 29) as f32
            })
            .collect();
        assert_eq!(fault_free, 84);
        let map = MeasuredMap::new(&scores, &mask, WIDTH).unwrap();
        let (all, part) = (measured(&[map], 84).unwrap(), measured(&[map], 28).unwrap());
        for (all, part) in [
            (all.auroc, part.auroc),
            (all.aupro, part.aupro),
            (all.f1_max, part.f1_max),
        ] {
            assert!(0.0 < all && all < 1.0 && is_near(all, part), "{all} {part}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let error = MeasuredMap::new(&[0.0; 6], &[0; 5], 3).unwrap_err();
        assert_eq!(error, MapError::Sizes { scores: 6, mask: 5 });
        for width in [0, 4] {
            let error = MeasuredMap::new(&[0.0; 6], &[], width).unwrap_err();
            assert_eq!(error, MapError::Rows { pixels: 6, width });
        }
    }
}
