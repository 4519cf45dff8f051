//! Whether there is a session on the device at all.

use std::time::Instant;

use lfbm_model::GeneratorName;
use lfbm_testkit::StepRows;
use serde::Serialize;

use crate::context::{Context, Model};
use crate::report::{Report, Row};

/// A session that was opened.
#[derive(Serialize)]
struct Opened {
    model: String,
    device: String,
    onnxruntime_version: String,
    onnxruntime_path: String,
    /// Until the session was open.
    open_s: f64,
    /// Until the first step was taken, in which a device chooses and loads kernels.
    first_step_s: f64,
    passed: bool,
}

impl Row for Opened {
    fn passed(&self) -> bool {
        self.passed
    }
}

/// Opens a session and takes a step.
pub fn check(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let model = Model::Random(GeneratorName::Mlp);
    report.attempt(&model.name(), |report| {
        let bundle = context.bundle(&model)?;
        let started = Instant::now();
        let mut posterior = context.posterior(&bundle, &context.options())?;
        let open_s = started.elapsed().as_secs_f64();
        let mut rows = StepRows::new(bundle.manifest(), 1);
        let started = Instant::now();
        rows.step(&mut posterior)?;
        let first_step_s = started.elapsed().as_secs_f64();
        report.row(&Opened {
            model: model.name(),
            device: context.device.to_string(),
            onnxruntime_version: context.runtime.version().to_owned(),
            onnxruntime_path: context.runtime.path().display().to_string(),
            open_s,
            first_step_s,
            passed: rows.log_likelihood.iter().all(|value| value.is_finite()),
        })
    })
}
