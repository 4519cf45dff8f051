//! The time of a step.

use std::time::{Duration, Instant};

use lfbm_bundle::Bundle;
use lfbm_model::{GeneratorName, GeneratorSpec, Layer, ModelError};
use lfbm_runtime::{PosteriorStep, SessionOptions};
use lfbm_testkit::StepRows;
use serde::Serialize;

use crate::context::{Context, Model, TIMED};
use crate::report::{Report, Row};

/// Steps before those that are timed.
const WARM_UP: usize = 3;
/// Steps that are timed, at least, whatever they take, and at most.
const STEPS: [usize; 2] = [3, 500];

/// A number of rows.
#[derive(Serialize)]
struct Timed {
    model: String,
    rows: usize,
    cuda_graphs: bool,
    /// The median.
    step_s: f64,
    /// How many were timed.
    steps: usize,
    /// Of the generator's products, forward and for the gradient in z.
    flop_per_row: f64,
    gflop_per_s: f64,
    rows_per_s: f64,
    passed: bool,
}

impl Row for Timed {
    fn passed(&self) -> bool {
        self.passed
    }
}

/// Times every model at each number of rows, without and with CUDA graphs.
pub fn check(context: &Context, rows: &[usize], report: &mut Report) -> anyhow::Result<()> {
    for generator in TIMED {
        let model = Model::Random(generator);
        report.attempt(&model.name(), |report| {
            let bundle = context.bundle(&model)?;
            let flop_per_row = flop_per_row(&bundle, generator)?;
            for cuda_graphs in [false, true] {
                let with = if cuda_graphs { "with" } else { "without" };
                report.attempt(&format!("{} {with} CUDA graphs", model.name()), |report| {
                    let options = SessionOptions {
                        cuda_graphs,
                        ..context.options()
                    };
                    let mut posterior = context.posterior(&bundle, &options)?;
                    for &rows in rows {
                        posterior.record(rows)?;
                        let (step_s, steps) = step_s(context, &bundle, &mut posterior, rows)?;
                        let rows_per_s = rows as f64 / step_s;
                        report.row(&Timed {
                            model: model.name(),
                            rows,
                            cuda_graphs,
                            step_s,
                            steps,
                            flop_per_row,
                            gflop_per_s: 1e-9 * flop_per_row * rows_per_s,
                            rows_per_s,
                            passed: true,
                        })?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The median time of a step, and of how many it is.
///
/// # Errors
/// When a step fails.
pub fn step_s(
    context: &Context,
    bundle: &Bundle,
    posterior: &mut PosteriorStep,
    rows: usize,
) -> anyhow::Result<(f64, usize)> {
    let time = Duration::from_millis(if context.quick { 100 } else { 1000 });
    let mut rows = StepRows::new(bundle.manifest(), rows);
    let began = Instant::now();
    for _ in 0..WARM_UP {
        rows.step(posterior)?;
        if began.elapsed() > time {
            break;
        }
    }
    let (began, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < STEPS[0] || seconds.len() < STEPS[1] && began.elapsed() < time {
        let started = Instant::now();
        rows.step(posterior)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[seconds.len() / 2], seconds.len()))
}

/// Multiplications and additions of the generator's products in a step of one row, forward and for the
/// gradient in z, which takes as many.
fn flop_per_row(bundle: &Bundle, name: GeneratorName) -> Result<f64, ModelError> {
    let (manifest, width) = (bundle.manifest(), lfbm_testkit::BENCHMARK_WIDTH);
    let spec = GeneratorSpec {
        name,
        latent_dim: manifest.latent_dim,
        width,
        channels: manifest.image.channels,
        height: manifest.image.height,
        width_px: manifest.image.width,
    };
    let (mut products, mut side) = (0, 1);
    for layer in spec.layers()? {
        let weights: usize = layer.weight_shape().iter().product();
        products += weights * side * side;
        if let Layer::ConvTranspose { geometry, .. } = layer {
            side = geometry.transposed_output(side).unwrap_or(0);
        }
    }
    Ok(2.0 * 2.0 * products as f64)
}
