//! Normal images that join a calibration after the fit.

#![allow(clippy::unwrap_used, clippy::panic)]

use lfbm_detector::sites::{Parts, Rule, SiteBank, SiteCalibration, SiteGrid};
use lfbm_detector::{
    Calibration, Comparison, Decision, FitError, LocalCalibration, MemoryBank, Neighbours, Score,
    smallest_rate,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Values of an image, or of a site.
const D: usize = 4;
const GRID: SiteGrid = SiteGrid {
    rows: 2,
    columns: 3,
};
const SITES: usize = 6;
const RULE: Rule = Rule {
    weights: [1.0, 1.0],
    by_place: false,
    smoothing: 0.5,
    centre: false,
    share: 0.3,
};
/// So far apart are the two kinds of normal images, in standard deviations of a value.
const APART: f32 = 8.0;

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let value: f64 = StandardNormal.sample(rng);
    value as f32
}

/// An image: x, S x D or D values around `mean`, and its log-joints, one a site.
struct Image {
    x: Vec<f32>,
    scores: Vec<Score>,
}

fn images(rng: &mut ChaCha8Rng, n: usize, sites: usize, mean: f32) -> Vec<Image> {
    let score = |rng: &mut ChaCha8Rng| {
        let log_joint = -f64::from(normal(rng)).powi(2);
        Score {
            log_joint,
            log_prior: log_joint,
            log_likelihood: 0.1,
            log_joint_std: 0.0,
            log_prior_std: 0.0,
            log_likelihood_std: 0.0,
            z: Vec::new(),
        }
    };
    let image = |_| Image {
        x: (0..sites * D).map(|_| mean + normal(rng)).collect(),
        scores: (0..sites).map(|_| score(rng)).collect(),
    };
    (0..n).map(image).collect()
}

fn x_of(images: &[Image]) -> Vec<f32> {
    images.iter().flat_map(|image| &image.x).copied().collect()
}

fn log_joints(images: &[Image]) -> Vec<f64> {
    let joint = |image: &Image| image.scores[0].log_joint;
    images.iter().map(joint).collect()
}

/// The score of each image as a whole.
fn whole(images: &[Image]) -> Vec<Score> {
    images.iter().map(|image| image.scores[0].clone()).collect()
}

/// The first of the images, for a bank that is new, or the extension of one.
fn numbers(images: usize, first: u32) -> Vec<u32> {
    let number = |site: usize| first + (site / SITES) as u32;
    (0..images * SITES).map(number).collect()
}

fn parts(bank: &SiteBank, images: &[Image]) -> Vec<Parts> {
    let parts = |image: &Image| bank.parts(&image.scores, &image.x);
    images.iter().map(parts).collect()
}

/// What is done with either kind of comparison.
trait Kind {
    const SITES: usize;
    const DECISION: Decision;

    fn fit(bank: &[Image], calibration: &[Image]) -> Comparison;
    /// With room for all stored sites or images.
    fn extended(of: &Comparison, bank: &[Image], calibration: &[Image]) -> Comparison;
    fn p_value(of: &Comparison, image: &Image) -> f64;
}

struct Sites;

fn sites(comparison: &Comparison) -> &SiteCalibration {
    match comparison {
        Comparison::Sites(sites) => sites,
        Comparison::Local(_) => panic!("not of sites"),
    }
}

impl Kind for Sites {
    const SITES: usize = SITES;
    const DECISION: Decision = Decision::Sites;

    fn fit(bank: &[Image], calibration: &[Image]) -> Comparison {
        let bank = SiteBank::fit(&x_of(bank), D, &numbers(bank.len(), 0), 60, 1).unwrap();
        let parts = parts(&bank, calibration);
        SiteCalibration::new(bank, GRID, RULE, &parts)
            .unwrap()
            .into()
    }

    fn extended(of: &Comparison, bank: &[Image], calibration: &[Image]) -> Comparison {
        let stored = sites(of).bank();
        let numbers = numbers(bank.len(), stored.next_image());
        let extended = stored.extended(&x_of(bank), &numbers, 1000, 2).unwrap();
        assert_eq!(extended.dropped, 0);
        let parts = parts(&extended.bank, calibration);
        sites(of).extended(extended.bank, &parts).unwrap().into()
    }

    fn p_value(of: &Comparison, image: &Image) -> f64 {
        let sites = sites(of);
        let parts = sites.bank().parts(&image.scores, &image.x);
        sites.p_value(sites.score(&parts).score)
    }
}

struct Whole;

fn local(comparison: &Comparison) -> &LocalCalibration {
    match comparison {
        Comparison::Local(local) => local,
        Comparison::Sites(_) => panic!("not of whole images"),
    }
}

fn memory_bank(images: &[Image]) -> MemoryBank {
    // The identity as basis.
    let neighbours = |x: &[f32], values: usize| {
        let basis = (0..values * values).map(|i| f32::from(u8::from(i / values == i % values)));
        Neighbours::new(vec![0.0; values], &basis.collect::<Vec<_>>(), x)
    };
    MemoryBank::fit(&x_of(images), [1, 2, 2], neighbours, neighbours).unwrap()
}

impl Kind for Whole {
    const SITES: usize = 1;
    const DECISION: Decision = Decision::Local;

    fn fit(bank: &[Image], calibration: &[Image]) -> Comparison {
        let (x, log_joint) = (x_of(calibration), log_joints(calibration));
        LocalCalibration::new(memory_bank(bank), &x, &log_joint)
            .unwrap()
            .into()
    }

    fn extended(of: &Comparison, bank: &[Image], calibration: &[Image]) -> Comparison {
        let local = local(of);
        let extended = local.memory_bank().extended(&x_of(bank), 1000, 2).unwrap();
        assert_eq!(extended.len(), local.memory_bank().len() + bank.len());
        let (x, log_joint) = (x_of(calibration), log_joints(calibration));
        local.extended(extended, &x, &log_joint).unwrap().into()
    }

    fn p_value(of: &Comparison, image: &Image) -> f64 {
        let local = local(of);
        let parts = local.parts(&image.x, image.scores[0].log_joint);
        local.p_value(local.score(&parts))
    }
}

/// How many of the p-values of `tested` images of each seed are at most `bound`.
fn share(p_values: &[f64], bound: f64) -> f64 {
    let below = p_values.iter().filter(|p_value| **p_value <= bound).count();
    below as f64 / p_values.len() as f64
}

fn p_values_stay_uniform_or_conservative<K: Kind>() {
    let mut p_values = Vec::new();
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut some = |n| images(&mut rng, n, K::SITES, 0.0);
        let fitted = K::fit(&some(20), &some(60));
        let extended = K::extended(&fitted, &some(20), &some(30));
        assert_eq!(extended.ranked(), fitted.ranked() + 30);
        let tested = some(30);
        p_values.extend(tested.iter().map(|image| K::p_value(&extended, image)));
    }
    for bound in [0.05, 0.1, 0.25, 0.5, 0.75] {
        let share = share(&p_values, bound);
        // Of 1800 images a share deviates by 0.012 at most, and calibrations vary.
        assert!(share <= bound + 0.05, "{share} are at or below {bound}");
        // Not because no image has a small one.
        assert!(share >= bound / 4.0, "{share} are at or below {bound}");
    }
}

#[test]
fn p_values_of_normal_images_stay_uniform_or_conservative() {
    p_values_stay_uniform_or_conservative::<Sites>();
    p_values_stay_uniform_or_conservative::<Whole>();
}

/// Before, nearly all images of a new kind are called anomalous; after, about as many of both kinds together
/// as the rate allows.
fn a_new_kind_becomes_normal<K: Kind>() {
    let rate = 0.05;
    let (mut before, mut new, mut old) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 100..140 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut some = |n, mean| images(&mut rng, n, K::SITES, mean);
        let fitted = K::fit(&some(30, 0.0), &some(60, 0.0));
        let extended = K::extended(&fitted, &some(30, APART), &some(30, APART));
        for image in some(30, APART) {
            before.push(K::p_value(&fitted, &image));
            new.push(K::p_value(&extended, &image));
        }
        old.extend(
            some(30, 0.0)
                .iter()
                .map(|image| K::p_value(&extended, image)),
        );
    }
    let [before, new, old] = [before, new, old].map(|p_values| share(&p_values, rate));
    assert!(before > 0.9, "{before}");
    assert!(new < 0.2, "{new}");
    // The mixture is that of the ranked images: as many of the one kind as of the other.
    let mixed = f64::midpoint(new, old);
    assert!(mixed <= rate + 0.03, "{new} {old}");
}

#[test]
fn a_new_kind_of_normal_images_is_no_longer_flagged() {
    a_new_kind_becomes_normal::<Sites>();
    a_new_kind_becomes_normal::<Whole>();
}

fn survives_its_file<K: Kind>(calibrate: fn(&[Image], Comparison) -> Calibration) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut some = |n, mean| images(&mut rng, n, K::SITES, mean);
    let (bank, calibrated) = (some(20, 0.0), some(60, 0.0));
    let fitted = calibrate(&calibrated, K::fit(&bank, &calibrated));
    let new = some(25, 1.0);
    let comparison = K::extended(fitted.comparison(), &some(20, 1.0), &new);
    let extended = fitted.extended(&whole(&new), comparison.clone()).unwrap();
    assert_eq!(extended.len(), 85);
    assert_eq!(extended.ranked(), fitted.ranked() + 25);
    assert_eq!(Calibration::decode(&extended.encode()).unwrap(), extended);

    // The manifest tells the ranks, which do not follow from the number of images.
    let summary = extended.summary(0.05, K::DECISION);
    assert_eq!(summary.ranked(), extended.ranked());
    assert_eq!(summary.ranked_images, Some(extended.ranked()));
    assert_eq!(fitted.summary(0.05, K::DECISION).ranked_images, None);
    let smallest = smallest_rate(extended.ranked());
    assert!(fitted.at_rate(smallest, K::DECISION).is_err());
    let mut above = f64::INFINITY;
    for rate in [smallest, 0.05, 0.2, 0.6] {
        let at = extended.at_rate(rate, K::DECISION).unwrap();
        let threshold = at.deciding_threshold().unwrap();
        assert!(threshold <= above, "{rate}");
        above = threshold;
    }

    // Once more, from what was read.
    let read = Calibration::decode(&extended.encode()).unwrap();
    let more = some(5, 2.0);
    let comparison = K::extended(read.comparison(), &some(5, 2.0), &more);
    let twice = read.extended(&whole(&more), comparison).unwrap();
    assert_eq!((twice.len(), twice.ranked()), (90, fitted.ranked() + 30));

    let fewer = fitted.extended(&whole(&new[1..]), comparison_of::<K>(&fitted, &new));
    assert!(matches!(
        fewer,
        Err(FitError::Length {
            what: "scores of ranked images",
            ..
        })
    ));
    let mut diverged = whole(&new);
    diverged[3].log_joint = f64::NAN;
    let error = fitted.extended(&diverged, comparison_of::<K>(&fitted, &new));
    assert_eq!(
        error.unwrap_err().to_string(),
        "log-joints of normal images: expected finite values, value 3 is NaN or infinite"
    );
}

fn comparison_of<K: Kind>(fitted: &Calibration, new: &[Image]) -> Comparison {
    K::extended(fitted.comparison(), new, new)
}

#[test]
fn an_extended_calibration_survives_its_file_and_tells_more_rates() {
    survives_its_file::<Sites>(|images, comparison| {
        let sites = sites(&comparison).clone();
        Calibration::from_sites(&whole(images), sites).unwrap()
    });
    survives_its_file::<Whole>(|images, comparison| {
        let bank = local(&comparison).memory_bank().clone();
        Calibration::from_scores(&whole(images), &x_of(images), bank).unwrap()
    });
}

#[test]
fn what_does_not_fit_the_calibration_is_refused_with_the_reason() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut some = |n| images(&mut rng, n, SITES, 0.0);
    let fitted = Sites::fit(&some(20), &some(60));
    let sites = sites(&fitted);
    let other = SiteBank::fit(&[0.0, 1.0], 2, &[0], 1, 0).unwrap();
    let error = sites.extended(other, &[]).unwrap_err().to_string();
    assert_eq!(error, "a site of the bank: expected 4 values, got 2");
    let mut parts = parts(sites.bank(), &some(2));
    parts[1].distance[2] = f32::NAN;
    let error = sites.extended(sites.bank().clone(), &parts).unwrap_err();
    assert_eq!(
        error.to_string(),
        "distances of sites: expected finite values, value 8 is NaN or infinite"
    );
}
