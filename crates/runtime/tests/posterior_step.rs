//! A step's rows are cut into runs; nobody can tell from the result.

#![allow(clippy::unwrap_used, missing_docs)]

use lfbm_bundle::Bundle;
use lfbm_model::GeneratorName;
use lfbm_runtime::{
    Device, PosteriorStep, Precision, Runtime, RuntimeError, SessionOptions, StepInputs,
    StepOutputs,
};
use lfbm_testkit::{RandomModel, random_bundle, random_bundle_of, random_images};

const ROWS: usize = 150;
const LATENT_DIM: usize = 6;
const PIXELS: usize = 784;

struct Rows {
    z: Vec<f32>,
    x: Vec<f32>,
    mask: Vec<f32>,
    step_size: Vec<f32>,
}

impl Rows {
    fn new(bundle: &Bundle) -> Self {
        let image = &bundle.manifest().image;
        let draw = |n, seed| random_images(image, n, seed);
        Self {
            z: draw(ROWS, 1)[..ROWS * LATENT_DIM].to_vec(),
            x: draw(ROWS, 2),
            mask: draw(ROWS, 3).iter().map(|v| v.round()).collect(),
            step_size: draw(1, 4)[..ROWS].to_vec(),
        }
    }

    /// `z_next` and reconstructions of rows `first` to `last`, and their log-densities.
    fn run(
        &self,
        step: &mut PosteriorStep,
        first: usize,
        last: usize,
    ) -> Result<[Vec<f32>; 4], RuntimeError> {
        self.run_with(step, first, last, true)
    }

    /// The same, with zeros for reconstructions if they are not wanted.
    fn run_with(
        &self,
        step: &mut PosteriorStep,
        first: usize,
        last: usize,
        reconstruct: bool,
    ) -> Result<[Vec<f32>; 4], RuntimeError> {
        let rows = last - first;
        let mut outputs = [LATENT_DIM, PIXELS, 1, 1].map(|width| vec![0.0; rows * width]);
        let [z_next, reconstruction, log_prior, log_likelihood] = &mut outputs;
        let latents = first * LATENT_DIM..last * LATENT_DIM;
        let pixels = first * PIXELS..last * PIXELS;
        step.run(
            rows,
            StepInputs {
                z: &self.z[latents.clone()],
                x: &self.x[pixels.clone()],
                mask: &self.mask[pixels],
                noise: &self.z[latents],
                step_size: &self.step_size[first..last],
                noise_scale: &self.step_size[first..last],
            },
            StepOutputs {
                z_next,
                log_prior,
                log_likelihood,
                reconstruction: reconstruct.then_some(&mut reconstruction[..]),
            },
        )?;
        Ok(outputs)
    }
}

/// `row` of `together` is `alone`, up to `tolerance`, relative or absolute.
fn assert_row_alone(together: &[Vec<f32>; 4], row: usize, alone: &[Vec<f32>; 4], tolerance: f32) {
    for (together, alone) in together.iter().zip(alone) {
        let width = alone.len();
        for (got, expected) in together[row * width..].iter().zip(alone) {
            let tolerance = tolerance * expected.abs().max(1.0);
            assert!((got - expected).abs() < tolerance, "{got} {expected}");
        }
    }
}

#[test]
fn many_rows_at_once_are_the_rows_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = random_bundle(&out, &runtime, generator, LATENT_DIM, 4, 1).unwrap();
        let rows = Rows::new(&bundle);
        let options = SessionOptions::default();
        let mut step =
            PosteriorStep::open(&runtime, bundle.dir(), bundle.manifest(), &options).unwrap();
        let together = rows.run(&mut step, 0, ROWS).unwrap();
        for row in 0..ROWS {
            let alone = rows.run(&mut step, row, row + 1).unwrap();
            assert_row_alone(&together, row, &alone, 1e-5);
        }
    }
}

/// Where the processor has no instructions for it, that is said.
#[test]
fn products_in_bfloat16_are_near_and_rows_still_alone() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let options = SessionOptions {
        precision: Precision::Bf16,
        ..SessionOptions::default()
    };
    for (generator, rounded) in [
        (GeneratorName::Mlp, false),
        (GeneratorName::Mnist, false),
        (GeneratorName::Mlp, true),
    ] {
        let out = folder.path().join(format!("{generator}-{rounded}"));
        let model = RandomModel {
            rounded,
            ..RandomModel::new(generator, LATENT_DIM, 16, 1)
        };
        let bundle = random_bundle_of(&out, &runtime, model).unwrap();
        let (dir, manifest) = (bundle.dir(), bundle.manifest());
        let mut step = match PosteriorStep::open(&runtime, dir, manifest, &options) {
            Ok(step) => step,
            Err(error) => {
                assert!(Precision::Bf16.check(Device::Cpu).is_err());
                assert!(error.to_string().contains("AVX512-BF16"), "{error}");
                return;
            }
        };
        let rows = Rows::new(&bundle);
        let got = rows.run(&mut step, 0, ROWS).unwrap();
        let f32 = SessionOptions::default();
        let mut exact = PosteriorStep::open(&runtime, dir, manifest, &f32).unwrap();
        let expected = rows.run(&mut exact, 0, ROWS).unwrap();
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let mut differs = false;
        // The sum over pixels leaves little of the likelihood's slope, and more of its rounding. The
        // flow's layers are small and stay in single precision.
        let tolerances = [5e-2, 2e-2, 1e-6, 5e-3];
        for ((got, expected), tolerance) in got.iter().zip(&expected).zip(tolerances) {
            let difference: Vec<_> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
            let share = largest(&difference) / largest(expected);
            assert!(share < tolerance, "{generator}: {share}");
            differs |= share > 0.0;
        }
        assert!(differs, "{generator}: in single precision after all");
        for row in [0, 77, ROWS - 1] {
            let alone = rows.run(&mut step, row, row + 1).unwrap();
            assert_row_alone(&got, row, &alone, 1e-4);
        }
    }
}

#[test]
fn steps_at_fixed_addresses_are_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = random_bundle(&out, &runtime, generator, LATENT_DIM, 4, 1).unwrap();
        let rows = Rows::new(&bundle);
        let open = |cuda_graphs| {
            let options = SessionOptions {
                cuda_graphs,
                ..SessionOptions::default()
            };
            PosteriorStep::open(&runtime, bundle.dir(), bundle.manifest(), &options).unwrap()
        };
        let (mut usual, mut bound) = (open(false), open(true));
        for size in [1, 2, 8, 8] {
            bound.record(size).unwrap();
        }
        for (first, last, reconstruct) in [
            (0, 8, false),
            (3, 4, false),
            (8, 16, false),
            (4, 6, false),
            // Not recorded.
            (5, 10, false),
            (0, 8, true),
            (1, 9, false),
            (9, 10, true),
            // Runs of several sizes on the processor.
            (0, ROWS, false),
            (0, 8, false),
        ] {
            let expected = rows.run_with(&mut usual, first, last, reconstruct);
            let got = rows.run_with(&mut bound, first, last, reconstruct);
            assert!(got.unwrap() == expected.unwrap(), "{first} to {last}");
        }
    }
}

#[test]
fn a_slice_of_the_wrong_length_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let out = folder.path().join("mlp");
    let bundle = random_bundle(&out, &runtime, GeneratorName::Mlp, LATENT_DIM, 4, 1).unwrap();
    let options = SessionOptions::default();
    let mut step =
        PosteriorStep::open(&runtime, bundle.dir(), bundle.manifest(), &options).unwrap();
    let mut rows = Rows::new(&bundle);
    rows.z.truncate(ROWS * LATENT_DIM - 1);
    let z = rows.z.clone();
    let mut outputs = [LATENT_DIM, 1, 1].map(|width| vec![0.0; ROWS * width]);
    let [z_next, log_prior, log_likelihood] = &mut outputs;
    let error = step.run(
        ROWS,
        StepInputs {
            z: &z,
            x: &rows.x,
            mask: &rows.mask,
            noise: &vec![0.0; ROWS * LATENT_DIM],
            step_size: &rows.step_size,
            noise_scale: &rows.step_size,
        },
        StepOutputs {
            z_next,
            log_prior,
            log_likelihood,
            reconstruction: None,
        },
    );
    assert!(
        matches!(error, Err(RuntimeError::Length { what: "z", .. })),
        "{error:?}"
    );
}
