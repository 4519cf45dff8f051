//! How sessions are made.

use std::num::NonZero;

use crate::device::Device;
use crate::precision::Precision;

/// How a graph's session is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it runs. When the device cannot be had, opening the session fails.
    pub device: Device,
    /// Threads on the CPU; 0 for one per core.
    pub threads: usize,
    /// Memory that the CUDA provider may take for tensors; everything without it.
    pub gpu_memory_limit_bytes: Option<usize>,
    /// How exactly large products are computed. When the device has it not, opening the session
    /// fails.
    pub precision: Precision,
    /// Whether the steps of [`PosteriorStep::record`] are replayed from CUDA graphs, which the CUDA
    /// provider alone has. On the CPU the same code runs as if they were.
    pub cuda_graphs: bool,
}

impl SessionOptions {
    /// Threads on the CPU, at least one.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }
}
