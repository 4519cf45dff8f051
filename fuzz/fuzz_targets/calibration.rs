//! `calibration.bin`.

#![no_main]

use lfbm_bundle::manifest::Decision;
use lfbm_detector::sites::{Parts, SiteCalibration, regions};
use lfbm_detector::{Calibration, Comparison, LocalCalibration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(calibration) = Calibration::decode(bytes) {
        assert_eq!(calibration.encode(), bytes);
        for log_joint in [f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::NAN] {
            let p_value = calibration.p_value(log_joint);
            assert!(p_value > 0.0 && p_value <= 1.0);
            let p_value = match calibration.comparison() {
                Comparison::Local(local) => whole(local, log_joint),
                Comparison::Sites(sites) => of_sites(sites, log_joint),
            };
            assert!(p_value > 0.0 && p_value <= 1.0);
        }
        calibration.summary(0.05, Decision::Local);
    }
});

fn whole(local: &LocalCalibration, log_joint: f64) -> f64 {
    let x = vec![0.5; local.memory_bank().image().iter().product()];
    local.p_value(local.score(&local.parts(&x, log_joint)))
}

fn of_sites(sites: &SiteCalibration, log_joint: f64) -> f64 {
    let grid = sites.scorer().grid();
    let distance = sites.bank().distances(&vec![0.5; sites.bank().values()]);
    let parts = Parts {
        negative_log_joint: vec![-log_joint as f32; grid.sites()],
        distance: distance.repeat(grid.sites()),
    };
    let scored = sites.score(&parts);
    assert_eq!(scored.map.len(), grid.sites());
    regions(&scored.map, grid, sites.map_threshold(0.05));
    sites.p_value(scored.score)
}
