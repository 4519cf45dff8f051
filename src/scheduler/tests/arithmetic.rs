//! Graphs of arithmetic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use lfbm_runtime::{
    ChainModel, ChainNoise, ChainSizes, Placement, RuntimeError, StepInputs, StepOutputs,
};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::scheduler::graphs::Graphs;

pub(super) const SIZES: ChainSizes = ChainSizes {
    values: 2,
    positions: 2,
    latent_dim: 3,
    sites: None,
};
/// First values of images that graphs do not bear.
pub(super) const PANICS: f32 = 0.25;
pub(super) const FAILS: f32 = 0.75;
/// A second value of images whose sites cannot be read.
pub(super) const UNREADABLE: f32 = 0.375;
/// A batch size that graphs cannot record.
pub(super) const UNRECORDABLE: usize = 7;
pub(super) const STEP: Duration = Duration::from_micros(200);

/// Chains start at the noise plus x0; z -> 0.9 z + s noise + x0, densities of their own, rows of a
/// step in `rows`, with the number of their worker.
pub(super) struct Arithmetic {
    pub(super) worker: usize,
    /// Sites of an image, if it has any; site i has the values of the image plus i.
    pub(super) sites: Option<usize>,
    pub(super) rows: Arc<Mutex<Vec<(usize, usize)>>>,
    /// What each thread recorded, and that it stepped at all.
    pub(super) recorded: Arc<Mutex<HashMap<ThreadId, Vec<usize>>>>,
    /// What the thread of a step may use, of each worker.
    pub(super) cpus: Arc<Mutex<HashMap<usize, CpuSet>>>,
    pub(super) placement: Placement,
    /// A worker that asks for its default steps panics, which is where nothing catches it.
    pub(super) dies: Arc<AtomicBool>,
}

impl ChainModel for Arithmetic {
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError> {
        assert_eq!(images.len(), rows * SIZES.values);
        let Some(sites) = self.sites else {
            x.copy_from_slice(images);
            return Ok(());
        };
        assert_eq!((rows, x.len()), (1, sites * SIZES.values));
        if images[1] == UNREADABLE {
            return Err(RuntimeError::Length {
                graph: "test",
                what: "image",
                got: 0,
                expected: 1,
            });
        }
        for (site, x) in x.chunks_mut(SIZES.values).enumerate() {
            for (x, value) in x.iter_mut().zip(images) {
                *x = value + site as f32;
            }
        }
        Ok(())
    }

    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]) {
        noise.initial(values);
    }

    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        let d = SIZES.latent_dim;
        assert_eq!((x.len(), z.len()), (rows * SIZES.values, rows * d));
        for (index, (z, noise)) in z.iter_mut().zip(noise).enumerate() {
            *z = noise + x[index / d * SIZES.values];
        }
        Ok(())
    }

    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        self.rows.lock().unwrap().push((self.worker, rows));
        let thread = thread::current().id();
        self.recorded.lock().unwrap().entry(thread).or_default();
        let cpus = sched_getaffinity(None).unwrap();
        self.cpus.lock().unwrap().insert(self.worker, cpus);
        thread::sleep(STEP);
        let d = SIZES.latent_dim;
        for row in 0..rows {
            let x = &inputs.x[row * SIZES.values..][..SIZES.values];
            assert_ne!(x[0], PANICS, "a panic that the test asked for");
            if x[0] == FAILS {
                return Err(RuntimeError::Length {
                    graph: "test",
                    what: "x",
                    got: 0,
                    expected: 1,
                });
            }
            let scale = inputs.step_size[row] * inputs.noise_scale[row];
            let mut squares = 0.0;
            for i in row * d..(row + 1) * d {
                outputs.z_next[i] = 0.9 * inputs.z[i] + scale * inputs.noise[i] + 0.01 * x[0];
                squares += inputs.z[i] * inputs.z[i];
            }
            outputs.log_prior[row] = -squares;
            outputs.log_likelihood[row] = x.iter().sum();
        }
        if let Some(reconstruction) = outputs.reconstruction {
            let firsts = inputs.z.chunks(d).map(|z| z[0]);
            for (image, first) in reconstruction.chunks_mut(SIZES.values).zip(firsts) {
                image.fill(first);
            }
        }
        Ok(())
    }
}

impl Graphs for Arithmetic {
    fn sizes(&self) -> ChainSizes {
        ChainSizes {
            sites: self.sites,
            ..SIZES
        }
    }

    fn default_steps(&self) -> u32 {
        let dies = self.dies.load(Ordering::Relaxed);
        assert!(!dies, "a panic that the test asked for");
        20
    }

    fn placement(&self) -> &Placement {
        &self.placement
    }

    fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        let thread = thread::current().id();
        let mut recorded = self.recorded.lock().unwrap();
        recorded.entry(thread).or_default().push(rows);
        if rows == UNRECORDABLE {
            return Err(RuntimeError::CudaGraph {
                rows,
                what: "z_next",
            });
        }
        Ok(())
    }
}
