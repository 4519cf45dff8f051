//! What a number of normal images guarantees: the false-alarm rates that a calibration tells.

use std::fmt::Write;

use lfbm_bundle::manifest::Manifest;
use lfbm_detector::{fewest_images, fewest_ranked, ranked, sites, smallest_rate};
use serde_json::json;

/// Rates whose price in images is told.
const RATES: [f64; 3] = [0.05, 0.01, 0.001];

/// What a fit guarantees that keeps `kept_out` normal images out for the calibration.
pub(super) fn of_fit(is_whole_image: bool, kept_out: usize) -> String {
    let ranked = if is_whole_image {
        ranked(kept_out)
    } else {
        sites::ranked(kept_out)
    };
    format!(
        "the verdict ranks an image among {ranked} of the {kept_out} normal images that are kept out, which \
         guarantees false-alarm rates from {} on; it takes{}",
        percent(smallest_rate(ranked)),
        list(|rate| fewest(is_whole_image, rate), "images kept out")
    )
}

/// What a calibration guarantees that ranks among `ranked` images, of which `new` were added with the same
/// number for the memory bank.
pub(super) fn of_extension(ranked: usize, new: usize) -> String {
    let more = |rate: f64| Some(2 * fewest_ranked(rate)?.saturating_sub(ranked));
    let dear = list(
        |rate| more(rate).filter(|images| *images > 0),
        "more new images",
    );
    let mut text = format!(
        "the verdict ranks an image among {ranked} normal images, {new} of them new, which guarantees \
         false-alarm rates from {} on, over images of which as large a share is like the new ones",
        percent(smallest_rate(ranked)),
    );
    if !dear.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, "; it takes{dear}");
    }
    text
}

/// The probability that of `tested` normal images `alarms` or more are called anomalous, where a calibration of the
/// same kind ranks among `ranked` and allows the rate `rate`: beta-binomial, since both samples are finite.
pub(super) fn probability(alarms: usize, tested: usize, ranked: usize, rate: f64) -> f64 {
    // The threshold leaves room above it for `beyond` of the places that an image can have among the ranked ones.
    let beyond = (rate * (ranked + 1) as f64).floor();
    let below = (ranked + 1) as f64 - beyond;
    let all = |from: f64| -> f64 { (0..tested).map(|image| (from + image as f64).ln()).sum() };
    let mut log = all(below) - all(beyond + below);
    let mut probability = 0.0;
    for count in 0..=tested {
        if count >= alarms {
            probability += log.exp();
        }
        let [count, left] = [count, tested - count].map(|images| images as f64);
        log += (left * (beyond + count)).ln() - ((count + 1.0) * (below + left - 1.0)).ln();
    }
    probability.min(1.0)
}

/// What the report says of the calibration of a bundle.
pub(super) fn json(manifest: &Manifest) -> serde_json::Value {
    let calibration = &manifest.calibration;
    let is_whole_image = manifest.representation.is_whole_image();
    let fewest = RATES.map(|rate| (rate.to_string(), json!(fewest(is_whole_image, rate))));
    json!({
        "images": calibration.count,
        "ranked_images": calibration.ranked(),
        "smallest_false_alarm_rate": smallest_rate(calibration.ranked()),
        "fewest_images_of_a_fit": serde_json::Map::from_iter(fewest),
    })
}

fn fewest(is_whole_image: bool, rate: f64) -> Option<usize> {
    if is_whole_image {
        fewest_images(rate)
    } else {
        sites::fewest_images(rate)
    }
}

/// The images that each rate takes, for those that `of` knows.
fn list(of: impl Fn(f64) -> Option<usize>, what: &str) -> String {
    let known = RATES.into_iter().filter_map(|rate| Some((rate, of(rate)?)));
    let mut text = String::new();
    for (index, (rate, images)) in known.enumerate() {
        let (separator, what) = if index == 0 { ("", what) } else { (",", "") };
        let space = if what.is_empty() { "" } else { " " };
        let _ = write!(
            text,
            "{separator} {images}{space}{what} for {}",
            percent(rate)
        );
    }
    text
}

/// A rate in percent, with two digits that count.
fn percent(rate: f64) -> String {
    let percent = 100.0 * rate;
    let digits = if percent >= 1.0 { 1 } else { 2 };
    let text = format!("{percent:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_says_what_its_images_guarantee_and_what_other_rates_take() {
        assert_eq!(
            of_fit(true, 40),
            "the verdict ranks an image among 20 of the 40 normal images that are kept out, which \
             guarantees false-alarm rates from 4.8 % on; it takes 40 images kept out for 5 %, 197 for \
             1 %, 1997 for 0.1 %"
        );
        let of_sites = of_fit(false, 27);
        assert!(of_sites.contains("among 19 of the 27"), "{of_sites}");
        assert!(
            of_sites.contains("from 5 % on; it takes 27 images"),
            "{of_sites}"
        );
    }

    #[test]
    fn false_alarms_beyond_chance_by_hand() {
        let close = |alarms, tested, ranked, rate, expected: f64| {
            let got = probability(alarms, tested, ranked, rate);
            assert!((got - expected).abs() < 1e-9, "{got} is not {expected}");
        };
        close(0, 36, 19, 0.05, 1.0);
        // One image is beyond the largest of 19 with a probability of 1 / 20.
        close(1, 1, 19, 0.05, 0.05);
        // The two largest of three are the images that are tested.
        close(2, 2, 1, 0.5, 1.0 / 3.0);
        // None of two is the largest of 21 images, or the two largest are.
        close(1, 2, 19, 0.05, 2.0 / 21.0);
        close(2, 2, 19, 0.05, 1.0 / 210.0);
        assert!(probability(11, 36, 19, 0.05) < 0.01);
        assert!(probability(5, 36, 19, 0.05) > 0.01);
    }

    #[test]
    fn an_extension_says_how_many_more_images_a_smaller_rate_takes() {
        let text = of_extension(39, 10);
        assert!(
            text.ends_with("; it takes 120 more new images for 1 %, 1920 for 0.1 %"),
            "{text}"
        );
        assert!(text.contains("from 2.5 % on"), "{text}");
        let enough = of_extension(999, 10);
        assert!(!enough.contains("it takes"), "{enough}");
        assert!(enough.contains("from 0.1 % on"), "{enough}");
    }
}
