//! The choice of the rule by which a map and a score are made of the parts of an image's sites: by faults
//! that are drawn into normal images. No image of a test, and no label of one, is looked at.

use anyhow::Context;
use lfbm_bundle::manifest::Langevin;
use lfbm_detector::sites::{Parts, Rule, Scorer, SiteBank, SiteGrid, ranked};
use lfbm_runtime::Inference;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::faults::{Shape, draw_fault};
use super::sites::{SitesOfImage, score_sites};
use crate::data::{Dataset, Split};
use crate::evaluate::detection;

/// Faults that are drawn, if there are images for as many.
const FAULTS: usize = 160;
/// Images with faults that are scored at the same time.
const AT_ONCE: usize = 16;

/// Images that the scales of each place need. With fewer, the scales are mostly noise, and drawn faults do not
/// show it.
const FEWEST_BY_PLACE: usize = 20;

/// Rules to choose from, if so many images make the scales of the parts.
pub(super) fn candidates(images: usize, weights: [f64; 2]) -> Vec<Rule> {
    let mut rules = Vec::new();
    let by_place: &[bool] = if images < FEWEST_BY_PLACE {
        &[false]
    } else {
        &[false, true]
    };
    for &by_place in by_place {
        for centre in [false, true] {
            for smoothing in [0.0, 0.8, 1.6] {
                for share in [1e-6, 0.01, 0.03] {
                    rules.push(Rule {
                        weights,
                        by_place,
                        smoothing,
                        centre,
                        share,
                    });
                }
            }
        }
    }
    rules
}

/// The rule that tells best between the first normal images, which p-values do not rank among, and the
/// same images with faults drawn into them. The scales are those of the other normal images.
pub(super) fn choose_rule(
    inference: &mut Inference,
    langevin: &Langevin,
    bank: &SiteBank,
    grid: SiteGrid,
    dataset: &Dataset,
    split: &Split,
    normal: &[SitesOfImage],
) -> anyhow::Result<Rule> {
    let n = normal.len();
    let (first, others) = normal.split_at(n - ranked(n));
    // Both parts weigh the same, since faults that are drawn do not tell which part sees real ones better.
    let candidates = candidates(first.len(), [1.0, 1.0]);
    if grid.sites() == 1 {
        // A map of one value: there is nothing to choose.
        return Ok(candidates[0]);
    }
    let images = &split.calibration[..first.len()];
    let each = FAULTS.div_ceil(images.len().max(1)).min(4);
    eprintln!(
        "choosing how sites become a score, by {} faults drawn into {} normal images",
        each * images.len(),
        images.len()
    );
    let faulty: Vec<(usize, usize)> = (0..each)
        .flat_map(|fault| images.iter().map(move |&image| (image, fault)))
        .collect();
    // Another image lends a fault its texture: one of the fit, or, where those of the fit are not at hand, one of the
    // calibration.
    let lenders = if split.train.is_empty() {
        &split.calibration
    } else {
        &split.train
    };
    let chunks = faulty.chunks(AT_ONCE).map(|some| {
        let drawn = some
            .par_iter()
            .map(|&(image, fault)| with_fault(dataset, lenders, image, fault));
        let drawn: Vec<Vec<f32>> = drawn.collect::<anyhow::Result<_>>()?;
        anyhow::Ok(drawn.concat())
    });
    let faulty = score_sites(inference, langevin, bank, chunks, |_| ())?;

    let [scales, normal, faulty]: [Vec<&Parts>; 3] =
        [others, first, &faulty].map(|images| images.iter().map(|image| &image.parts).collect());
    let (rule, auroc) = best_rule(&candidates, grid, &scales, &normal, &faulty)?;
    eprintln!(
        "drawn faults are found with AUROC {auroc:.3}: parts compared {}, smoothed over {} sites{}, pooled \
         over {} of the sites",
        if rule.by_place {
            "place by place"
        } else {
            "with those of all places"
        },
        rule.smoothing,
        if rule.centre {
            ", less the image's median"
        } else {
            ""
        },
        if rule.share < 1e-3 {
            "the largest".to_owned()
        } else {
            format!("the largest {} %", 100.0 * rule.share)
        },
    );
    Ok(rule)
}

/// The rule of `candidates` that tells best between normal and faulty images, and its AUROC. The scales are those of other
/// normal images.
pub(super) fn best_rule(
    candidates: &[Rule],
    grid: SiteGrid,
    scales: &[&Parts],
    normal: &[&Parts],
    faulty: &[&Parts],
) -> anyhow::Result<(Rule, f64)> {
    let shown = [normal, faulty].concat();
    let anomalous: Vec<bool> = (0..shown.len())
        .map(|index| index >= normal.len())
        .collect();
    let rated = candidates.par_iter().map(|&rule| {
        let scorer = Scorer::fit(grid, rule, scales)?;
        let scores: Vec<f64> = shown
            .iter()
            .map(|parts| scorer.pooled(&scorer.map(parts)))
            .collect();
        anyhow::Ok((rule, detection(&scores, &anomalous).auroc))
    });
    let rated: Vec<(Rule, f64)> = rated.collect::<anyhow::Result<_>>()?;
    // Of equals the first, which is the simplest.
    let best = rated.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    best.copied().context("there are no rules to choose from")
}

/// Intensities of a normal image with a fault drawn into it, for which one of `lenders`, another image, lends texture.
pub(super) fn with_fault(
    dataset: &Dataset,
    lenders: &[usize],
    image: usize,
    fault: usize,
) -> anyhow::Result<Vec<f32>> {
    let seed = (image as u64) << 8 | fault as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut place = rng.random_range(0..lenders.len());
    if lenders[place] == image {
        place = (place + 1) % lenders.len();
    }
    let other = lenders[place];
    let shape = Shape {
        channels: dataset.channels,
        height: dataset.height,
        width: dataset.width,
    };
    let (image, other) = (dataset.gather(&[image]), dataset.gather(&[other]));
    Ok(draw_fault(&image, shape, &other, &mut rng)?.image)
}
