//! Steps that are replayed from CUDA graphs.

use lfbm_runtime::{Device, SessionOptions};
use serde::Serialize;

use crate::compare::{BOUND_NATS, worst};
use crate::context::{Context, Model, TIMED};
use crate::differences::Differences;
use crate::report::{Report, Row};
use crate::trace::{Chains, STEPS};

/// The comparison of a number of rows.
#[derive(Serialize)]
struct Replayed {
    model: String,
    rows: usize,
    steps: u32,
    /// 0 on the CPU, where there is nothing to be replayed and the same bits are due.
    bound_nats: f64,
    /// Of K + 1 steps, each from where the chain without CUDA graphs was.
    one_step: Differences,
    equal_bits: bool,
    passed: bool,
}

impl Row for Replayed {
    fn passed(&self) -> bool {
        self.passed
    }
}

/// Compares steps of every number of rows, after all of them were recorded.
pub fn check(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let sizes: &[usize] = match context.device {
        _ if context.quick => &[1, 8],
        // There a step cuts more rows into runs of fewer.
        Device::Cpu => &[1, 2, 4, 8, 16, 32, 64],
        Device::Cuda { .. } | Device::TensorRt { .. } => &[1, 2, 4, 8, 16, 32, 64, 256, 1024],
    };
    for model in TIMED.map(Model::Random) {
        report.attempt(&model.name(), |report| {
            compare(context, &model, sizes, report)
        })?;
    }
    Ok(())
}

fn compare(
    context: &Context,
    model: &Model,
    sizes: &[usize],
    report: &mut Report,
) -> anyhow::Result<()> {
    let bundle = context.bundle(model)?;
    let usual = context.options();
    let recorded = SessionOptions {
        cuda_graphs: true,
        ..usual
    };
    let mut usual = context.posterior(&bundle, &usual)?;
    let mut recorded = context.posterior(&bundle, &recorded)?;
    for &rows in sizes {
        // Another size may well be recorded; one that is not runs as usual.
        let name = format!("{}, {rows} rows", model.name());
        report.attempt(&name, |_| Ok(recorded.record(rows)?))?;
    }
    let bound_nats = match context.device {
        Device::Cpu => 0.0,
        Device::Cuda { .. } | Device::TensorRt { .. } => BOUND_NATS,
    };
    for &rows in sizes {
        let mut chains = Chains::of_equal_images(bundle.manifest(), rows);
        let expected = chains.follow(&mut usual)?;
        let got = chains.single_steps(&mut recorded, &expected)?;
        let one_step = worst(&got, &expected);
        report.row(&Replayed {
            model: model.name(),
            rows,
            steps: STEPS,
            bound_nats,
            one_step,
            equal_bits: got == expected,
            passed: one_step.score_nats <= bound_nats,
        })?;
    }
    Ok(())
}
