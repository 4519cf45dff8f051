//! `calibration.bin`.

#![no_main]

use lfbm_bundle::manifest::Decision;
use lfbm_detector::Calibration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(calibration) = Calibration::decode(bytes) {
        assert_eq!(calibration.encode(), bytes);
        for log_joint in [f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::NAN] {
            let p_value = calibration.p_value(log_joint);
            assert!(p_value > 0.0 && p_value <= 1.0);
            let local = calibration.local();
            let x = vec![0.5; local.memory_bank().image().iter().product()];
            let p_value = local.p_value(local.score(&local.parts(&x, log_joint)));
            assert!(p_value > 0.0 && p_value <= 1.0);
        }
        calibration.summary(0.05, Decision::Local);
    }
});
