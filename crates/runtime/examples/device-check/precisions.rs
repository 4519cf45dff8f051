//! Lower precisions, and TensorRT.

use lfbm_bundle::Bundle;
use lfbm_runtime::{Device, Precision, SessionOptions};
use serde::Serialize;

use crate::compare::worst;
use crate::context::{Context, Model, TIMED};
use crate::differences::Differences;
use crate::report::{Report, Row};
use crate::times::step_s;
use crate::trace::{Chains, STEPS};

/// What a precision gives, or why it is not there.
#[derive(Serialize)]
struct Measured {
    model: String,
    rows: usize,
    /// `tf32`, `bf16` or `tensorrt`, which is TF32 too.
    precision: &'static str,
    steps: u32,
    not_available: Option<String>,
    /// From the CPU's single precision: the largest of K + 1 steps, each from where the CPU's chain was.
    one_step: Option<Differences>,
    step_s: Option<f64>,
    /// In the most exact precision of the device.
    exact_step_s: Option<f64>,
    passed: bool,
}

impl Row for Measured {
    fn passed(&self) -> bool {
        self.passed
    }
}

/// Tries each precision with each model.
pub fn check(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let rows = if context.quick { 8 } else { 64 };
    let number = match context.device {
        Device::Cpu => 0,
        Device::Cuda { id } | Device::TensorRt { id } => id,
    };
    let on = |device, precision| SessionOptions {
        device,
        precision,
        ..SessionOptions::default()
    };
    let tries = [
        ("tf32", on(context.device, Precision::Tf32)),
        ("bf16", on(context.device, Precision::Bf16)),
        // Last, because it compiles for minutes.
        (
            "tensorrt",
            on(Device::TensorRt { id: number }, Precision::Tf32),
        ),
    ];
    for generator in TIMED {
        let model = Model::Random(generator);
        report.attempt(&model.name(), |report| {
            let bundle = context.bundle(&model)?;
            for (precision, options) in &tries {
                let name = format!("{} in {precision}", model.name());
                report.attempt(&name, |report| {
                    let mut row = Measured {
                        model: model.name(),
                        rows,
                        precision,
                        steps: STEPS,
                        not_available: None,
                        one_step: None,
                        step_s: None,
                        exact_step_s: None,
                        passed: true,
                    };
                    measure(context, &bundle, options, &mut row)?;
                    report.row(&row)
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn measure(
    context: &Context,
    bundle: &Bundle,
    options: &SessionOptions,
    row: &mut Measured,
) -> anyhow::Result<()> {
    if let Err(reason) = options.precision.check(options.device) {
        row.not_available = Some(reason);
        return Ok(());
    }
    let mut lower = match context.posterior(bundle, options) {
        // TensorRT says that it is not there when a session is opened; the device itself has to be there.
        Err(error) if options.device != context.device => {
            row.not_available = Some(format!("{error:#}"));
            return Ok(());
        }
        opened => opened?,
    };
    let mut chains = Chains::of_equal_images(bundle.manifest(), row.rows);
    let mut on_cpu = context.posterior(bundle, &SessionOptions::default())?;
    let expected = chains.follow(&mut on_cpu)?;
    let differences = worst(&chains.single_steps(&mut lower, &expected)?, &expected);
    row.passed = differences.score_nats.is_finite();
    row.one_step = Some(differences);
    row.step_s = Some(step_s(context, bundle, &mut lower, row.rows)?.0);
    let mut exact = context.posterior(bundle, &context.options())?;
    row.exact_step_s = Some(step_s(context, bundle, &mut exact, row.rows)?.0);
    Ok(())
}
