//! Which of the normal images make the scales, and which are ranked.

use crate::conformal::fewest_ranked;

/// Images of which a rate of 5 % can be told.
const FEWEST_RANKED: usize = 19;
/// Eight for the scales, and those that are ranked.
pub(super) const FEWEST_IMAGES: usize = 8 + FEWEST_RANKED;
/// From so many images on, half of them make the scales.
const MANY_IMAGES: usize = 40;

/// How many of `images` normal images, the last ones, give the scores that p-values rank among. The others
/// make the scales: half of many, a third of few, since a rate needs ranks more than a scale needs images.
pub fn ranked(images: usize) -> usize {
    if images < MANY_IMAGES {
        (images - images / 3).max(FEWEST_RANKED).min(images)
    } else {
        // Not fewer than of one image less.
        (images - images / 2).max(ranked(MANY_IMAGES - 1))
    }
}

/// The fewest normal images that tell a share `false_positive_rate` of them, and make a
/// [`SiteCalibration`](super::SiteCalibration); `None` for a share that no number tells.
pub fn fewest_images(false_positive_rate: f64) -> Option<usize> {
    let fewest = fewest_ranked(false_positive_rate)?;
    let few = FEWEST_IMAGES..MANY_IMAGES;
    let suffices = |images: &usize| ranked(*images) >= fewest;
    Some(few.into_iter().find(suffices).unwrap_or(2 * fewest - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_images_never_rank_fewer() {
        assert_eq!(
            [ranked(27), ranked(39), ranked(40), ranked(100)],
            [19, 26, 26, 50]
        );
        for images in 1..500 {
            assert!(ranked(images) >= ranked(images - 1) && ranked(images) <= images);
            let scales = images - ranked(images);
            assert!(images < FEWEST_IMAGES || scales >= 8);
        }
        for rate in [0.5, 0.05, 0.04, 0.03, 0.01] {
            let fewest = fewest_images(rate).unwrap();
            let tells = |images| ranked(images) >= fewest_ranked(rate).unwrap();
            assert!(tells(fewest), "{rate}");
            assert!(fewest == FEWEST_IMAGES || !tells(fewest - 1), "{rate}");
        }
        assert_eq!(fewest_images(0.05), Some(27));
        assert_eq!(fewest_images(0.0), None);
    }
}
