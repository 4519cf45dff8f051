//! Where chains start.

use std::path::Path;

use lfbm_bundle::manifest::{ChainStart, Manifest};

use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output, check_length};
use crate::graphs::open;
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;

/// Turns a chain's first noise into its start z_0: the noise itself, or a sample of q(z|x) made of
/// it by `encoder.onnx`. With an encoder, an image's first chain has none: it starts at the mean.
pub struct ChainStarts {
    encoder: Option<Encoder>,
}

struct Encoder {
    graph: Box<dyn GraphExecutor>,
    latent_dim: usize,
    x_shape: [usize; 3],
}

impl ChainStarts {
    /// Opens the encoder of the bundle in `dir`, if chains start at it.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let encoder = match manifest.chain_start {
            ChainStart::StandardNormal => None,
            ChainStart::Encoder => Some(Encoder {
                graph: open(runtime, dir, ("encoder", &["z"]), options)?,
                latent_dim: manifest.latent_dim,
                x_shape: manifest.x_shape(),
            }),
        };
        Ok(Self { encoder })
    }

    /// Draws a chain's first noise, d values.
    pub fn draw(&self, noise: &ChainNoise, values: &mut [f32]) {
        if self.encoder.is_some() && noise.chain() == 0 {
            values.fill(0.0);
        } else {
            noise.initial(values);
        }
    }

    /// z_0 of `rows` chains, rows x d, of the images `x`, rows x C H W with hidden pixels black,
    /// and their first `noise`, rows x d.
    ///
    /// # Errors
    /// When a slice's length does not fit `rows`, or the run fails.
    pub fn run(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        let Some(encoder) = &mut self.encoder else {
            check_length("encoder", "z", z.len(), noise.len())?;
            z.copy_from_slice(noise);
            return Ok(());
        };
        encoder.graph.run(
            rows,
            &[
                Input {
                    name: "x",
                    row: &encoder.x_shape,
                    values: x,
                },
                Input {
                    name: "noise",
                    row: &[encoder.latent_dim],
                    values: noise,
                },
            ],
            &mut [Output {
                name: "z",
                values: z,
            }],
        )
    }
}
