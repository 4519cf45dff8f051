//! The graphs of a bundle. All arrays are row major, `f32`, and lie one row after the other.

use std::path::Path;

use lfbm_bundle::manifest::Manifest;

use crate::cuda;
use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output};
use crate::library::Runtime;
use crate::options::SessionOptions;
use crate::session::SessionExecutor;

/// The graph of the Langevin step, which alone CUDA graphs can replay: tensors of the other graphs lie
/// elsewhere at every run.
pub(crate) const STEP: &str = "posterior";

/// Opens a graph by its name, for runs that want the first of `outputs`.
pub(crate) fn open(
    runtime: &Runtime,
    dir: &Path,
    (name, outputs): (&'static str, &'static [&'static str]),
    options: &SessionOptions,
) -> Result<Box<dyn GraphExecutor>, RuntimeError> {
    let options = SessionOptions {
        cuda_graphs: options.cuda_graphs && name == STEP,
        ..*options
    };
    let graph = (name, outputs);
    match options.device {
        Device::Cpu if !options.cuda_graphs => {
            let session = SessionExecutor::open(runtime, dir, graph, &options, Ok)?;
            Ok(Box::new(session))
        }
        _ => cuda::open(runtime, dir, graph, &options),
    }
}

macro_rules! map_session {
    ($(#[$doc:meta])* $name:ident, $file:literal, $input:literal: $row:expr, $output:literal) => {
        $(#[$doc])*
        pub struct $name {
            graph: Box<dyn GraphExecutor>,
            row: Vec<usize>,
        }

        impl $name {
            /// Opens the graph of the bundle in `dir`.
            ///
            /// # Errors
            /// When ONNX Runtime refuses the graph, or the device cannot be had.
            pub fn open(
                runtime: &Runtime,
                dir: &Path,
                manifest: &Manifest,
                options: &SessionOptions,
            ) -> Result<Self, RuntimeError> {
                let row: fn(&Manifest) -> Vec<usize> = $row;
                Ok(Self {
                    graph: open(runtime, dir, ($file, &[$output]), options)?,
                    row: row(manifest),
                })
            }

            /// Maps `rows` rows of `input` to as many of `output`.
            ///
            /// # Errors
            /// When a slice's length does not fit `rows`, or the run fails.
            pub fn run(
                &mut self,
                rows: usize,
                input: &[f32],
                output: &mut [f32],
            ) -> Result<(), RuntimeError> {
                self.graph.run(
                    rows,
                    &[Input { name: $input, row: &self.row, values: input }],
                    &mut [Output { name: $output, values: output }],
                )
            }
        }
    };
}

map_session!(
    /// Intensities in [0, 1] (a byte v is v / 255), rows x C H W, to x, rows x C H W, or rows x S x D where
    /// images have sites: `preprocess.onnx`.
    Preprocess, "preprocess", "image": |manifest| manifest.image.shape().to_vec(), "x"
);
map_session!(
    /// Latents, rows x d, to x, rows x C H W; of sites, rows x D: `generator.onnx`.
    Generator, "generator", "z": |manifest| vec![manifest.latent_dim], "x"
);
map_session!(
    /// Latents, rows x d, to pixels in the value range of images, rows x C H W: `decoder.onnx`.
    Decoder, "decoder", "z": |manifest| vec![manifest.latent_dim], "pixels"
);
map_session!(
    /// Standard normal z0, rows x d, to latents z: `prior.onnx`.
    PriorSampler, "prior", "z0": |manifest| vec![manifest.latent_dim], "z"
);

/// One Langevin step of an energy-based prior: `prior.onnx`.
pub struct PriorStep {
    graph: Box<dyn GraphExecutor>,
    latent: [usize; 1],
}

impl PriorStep {
    /// Opens the graph of the bundle in `dir`.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            graph: open(runtime, dir, ("prior", &["z_next"]), options)?,
            latent: [manifest.latent_dim],
        })
    }

    /// Moves the latents `z` to `z_next`; all three are rows x d, `step_size` has one value a row.
    ///
    /// # Errors
    /// When a slice's length does not fit the others', or the run fails.
    pub fn run(
        &mut self,
        z: &[f32],
        noise: &[f32],
        step_size: &[f32],
        z_next: &mut [f32],
    ) -> Result<(), RuntimeError> {
        let input = |name, row, values| Input { name, row, values };
        self.graph.run(
            step_size.len(),
            &[
                input("z", &self.latent, z),
                input("noise", &self.latent, noise),
                input("step_size", &[], step_size),
            ],
            &mut [Output {
                name: "z_next",
                values: z_next,
            }],
        )
    }
}
