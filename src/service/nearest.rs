//! The normal images of a model's memory bank that an image is nearest to.

use lfbm_bundle::ImageNames;
use lfbm_detector::{Comparison, Nearest};
use lfbm_wire as proto;

use super::core::Outcome;
use super::located::middle;
use super::scoring::Scored;
use crate::score::JudgedSites;

/// None where the calibration does not hold, or there are no names.
pub(super) fn nearest_normals(outcome: &Outcome, scored: &Scored) -> Vec<proto::NearestNormal> {
    let model = &outcome.model;
    let names = &model.names;
    let x = &outcome.inferred.x;
    let Some(judgement) = scored.judgement.as_ref().filter(|_| !names.is_empty()) else {
        return Vec::new();
    };
    match model.calibration.comparison() {
        Comparison::Local(local) => {
            let nearest = local.memory_bank().nearest(x);
            let nearest = nearest.map(|nearest| {
                [
                    (nearest.pixels, proto::NearestBy::Pixels),
                    (nearest.edges, proto::NearestBy::Edges),
                ]
            });
            let nearest = nearest.into_iter().flatten();
            nearest
                .filter_map(|(nearest, by)| named(names, nearest, by))
                .collect()
        }
        Comparison::Sites(calibration) => {
            let bank = calibration.bank();
            let nearest = judgement.compared.sites().and_then(|sites| {
                let site = peak(sites)?;
                let x = x.chunks_exact(bank.values()).nth(site)?;
                let nearest = bank.nearest(x).into_iter().next()?;
                let named = named(names, nearest, proto::NearestBy::Site)?;
                Some(proto::NearestNormal {
                    at: Some(middle(sites.grid, site, &scored.placement)),
                    ..named
                })
            });
            nearest.into_iter().collect()
        }
    }
}

/// The site with the largest value.
fn peak(sites: &JudgedSites) -> Option<usize> {
    let values = sites.map.iter().enumerate();
    let largest = values.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    largest.map(|(site, _)| site)
}

fn named(
    names: &ImageNames,
    nearest: Nearest,
    by: proto::NearestBy,
) -> Option<proto::NearestNormal> {
    Some(proto::NearestNormal {
        file: names.get(nearest.image)?.to_owned(),
        by: by.into(),
        distance: nearest.distance.into(),
        at: None,
    })
}
