use lfbm_runtime::{ChainGraphs, ChainModel, ChainSizes, Placement, RuntimeError};

/// The graphs that a worker runs.
pub(super) trait Graphs: ChainModel + Send + 'static {
    fn sizes(&self) -> ChainSizes;

    /// K of the model's defaults.
    fn default_steps(&self) -> u32;

    /// The device, and the CPUs that the worker's thread keeps to.
    fn placement(&self) -> &Placement;

    /// Records a CUDA graph of a step of `rows` rows for the calling thread, where the device has them.
    fn record(&mut self, rows: usize) -> Result<(), RuntimeError>;
}

impl Graphs for ChainGraphs {
    fn sizes(&self) -> ChainSizes {
        self.sizes
    }

    fn default_steps(&self) -> u32 {
        self.default_steps
    }

    fn placement(&self) -> &Placement {
        &self.placement
    }

    fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        self.posterior.record(rows)
    }
}
