//! Graphs on a GPU, and CUDA graphs of the Langevin step.
//!
//! Nothing here has ever run on a GPU: tests run the copies, the bindings and the check of replays on the
//! CPU, which is a device of these executors for that alone. `examples/device-check` compares a GPU with
//! the CPU where there is one.

mod bound_graph;
mod executor;
mod graphs;
mod providers;
mod recording;
mod replay;

use std::path::Path;

use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::GraphExecutor;
use crate::library::Runtime;
use crate::options::SessionOptions;

use executor::GpuExecutor;
use graphs::CudaGraphs;

/// Opens a graph by its name, for runs that want the first of `outputs`; with
/// [`cuda_graphs`](SessionOptions::cuda_graphs), the graph of the Langevin step alone.
pub(crate) fn open(
    runtime: &Runtime,
    dir: &Path,
    graph: (&'static str, &'static [&'static str]),
    options: &SessionOptions,
) -> Result<Box<dyn GraphExecutor>, RuntimeError> {
    if !options.cuda_graphs {
        return Ok(Box::new(GpuExecutor::open(runtime, dir, graph, options)?));
    }
    if matches!(options.device, Device::TensorRt { .. }) {
        return Err(RuntimeError::Device {
            device: options.device,
            reason: "it has no CUDA graphs here; ask for cuda, or turn cuda_graphs off".into(),
        });
    }
    Ok(Box::new(CudaGraphs::open(runtime, dir, graph, options)?))
}
