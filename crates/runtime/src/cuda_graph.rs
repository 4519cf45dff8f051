//! Runs at fixed addresses of a device, which CUDA graphs replay.
//!
//! ONNX Runtime keeps one recorded graph for each number, `gpu_graph_id`, that runs name. A replay
//! looks neither at shapes nor at what is bound: it repeats what was launched on the addresses of
//! its recording. So each number of rows has tensors of its own, which stay where they are, and
//! values are copied into them and out of them.

use std::collections::BTreeMap;
use std::thread::{self, ThreadId};

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions};
use ort::value::{Outlet, Tensor};

use crate::device::Device;
use crate::error::RuntimeError;
use crate::recording::{no_recording, recording};
use crate::session::{Graph, Input, Output, check_length};

/// The graph as errors call it: without recording it may well run.
const NAME: &str = "posterior with cuda_graphs";
/// Says that a run is neither recorded nor replayed.
const UNRECORDED: i64 = -1;
/// Runs of a number until it has a graph for certain: ONNX Runtime records after one or two
/// ordinary ones.
const RECORDING_RUNS: usize = 3;

/// The recorded graphs of a session, one for each of some numbers of rows.
pub(super) struct CudaGraphs {
    device: Device,
    recorded: BTreeMap<usize, BoundGraph>,
}

impl CudaGraphs {
    pub(super) fn new(device: Device) -> Self {
        Self {
            device,
            recorded: BTreeMap::new(),
        }
    }

    /// The numbers of rows that are recorded, ascending.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.recorded.keys().copied().collect()
    }

    /// Runs `graph`: by a replay if this thread recorded so many rows and as many outputs.
    pub(super) fn run(
        &mut self,
        graph: &mut Graph,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        let _guard = no_recording();
        // ONNX Runtime keeps graphs by thread. On another one it would record a second time, which
        // nobody would have checked.
        let thread = thread::current().id();
        match self.recorded.get_mut(&rows) {
            Some(bound) if bound.thread == thread && bound.outputs.len() == outputs.len() => {
                bound.run(graph, inputs, outputs)
            }
            _ => BoundGraph::new(graph, self.device, rows, inputs, outputs, UNRECORDED)?
                .run(graph, inputs, outputs),
        }
    }

    /// Runs `graph` until it is recorded for `rows` rows. A run of so many has been before, so that
    /// kernels are chosen and memory is there.
    pub(super) fn record(
        &mut self,
        graph: &mut Graph,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        let _guard = recording();
        let id = i64::try_from(rows).unwrap_or(UNRECORDED);
        let mut bound = BoundGraph::new(graph, self.device, rows, inputs, outputs, id)?;
        for _ in 0..RECORDING_RUNS {
            bound.run(graph, inputs, outputs)?;
        }
        self.recorded.insert(rows, bound);
        Ok(())
    }
}

impl Drop for CudaGraphs {
    fn drop(&mut self) {
        let _guard = no_recording();
        self.recorded.clear();
    }
}

/// A tensor on the device, and where its values are on the CPU.
struct Mirrored {
    host: Tensor<f32>,
    device: Tensor<f32>,
}

impl Mirrored {
    fn new(allocator: &Allocator, shape: &[usize]) -> ort::Result<Self> {
        Ok(Self {
            host: Tensor::new(&Allocator::default(), shape)?,
            device: Tensor::new(allocator, shape)?,
        })
    }
}

/// What a graph reads and writes for one number of rows.
struct BoundGraph {
    thread: ThreadId,
    inputs: Vec<Mirrored>,
    outputs: Vec<Mirrored>,
    binding: IoBinding,
    options: RunOptions,
}

impl BoundGraph {
    fn new(
        graph: &Graph,
        device: Device,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &[Output<'_>],
        id: i64,
    ) -> Result<Self, RuntimeError> {
        let session = graph.session()?;
        let bind = || {
            let (memory, number) = match device {
                Device::Cpu => (AllocationDevice::CPU, 0),
                Device::Cuda { id } | Device::TensorRt { id } => (AllocationDevice::CUDA, id),
            };
            let memory =
                MemoryInfo::new(memory, number, AllocatorType::Device, MemoryType::Default)?;
            let allocator = Allocator::new(session, memory)?;
            let mut options = RunOptions::new()?;
            options.set("gpu_graph_id", id.to_string())?;
            let mut bound = Self {
                thread: thread::current().id(),
                inputs: Vec::with_capacity(inputs.len()),
                outputs: Vec::with_capacity(outputs.len()),
                binding: session.create_binding()?,
                options,
            };
            for input in inputs {
                let shape = shape(session.inputs(), input.name, rows);
                let tensor = Mirrored::new(&allocator, &shape)?;
                bound.binding.bind_input(input.name, &tensor.device)?;
                bound.inputs.push(tensor);
            }
            for output in outputs {
                let shape = shape(session.outputs(), output.name, rows);
                let mut tensor = Mirrored::new(&allocator, &shape)?;
                bound.binding.bind_output(output.name, &mut tensor.device)?;
                bound.outputs.push(tensor);
            }
            Ok(bound)
        };
        bind().map_err(failed)
    }

    fn run(
        &mut self,
        graph: &mut Graph,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        for (input, Mirrored { host, device }) in inputs.iter().zip(&mut self.inputs) {
            let (_, values) = host.try_extract_tensor_mut().map_err(failed)?;
            check_length(NAME, input.name, input.values.len(), values.len())?;
            values.copy_from_slice(input.values);
            host.copy_into(device).map_err(failed)?;
        }
        graph
            .session_mut()?
            .run_binding_with_options(&self.binding, &self.options)
            .map_err(failed)?;
        for (output, Mirrored { host, device }) in outputs.iter_mut().zip(&mut self.outputs) {
            device.copy_into(&mut *host).map_err(failed)?;
            let (_, values) = host.try_extract_tensor().map_err(failed)?;
            check_length(NAME, output.name, output.values.len(), values.len())?;
            output.values.copy_from_slice(values);
        }
        Ok(())
    }
}

fn failed(source: ort::Error) -> RuntimeError {
    RuntimeError::Run {
        graph: NAME,
        source,
    }
}

/// The shape of an input or output of a session at `rows` rows, the only size that is free.
fn shape(outlets: &[Outlet], name: &str, rows: usize) -> Vec<usize> {
    let outlet = outlets.iter().find(|outlet| outlet.name() == name);
    let sizes = outlet.and_then(|outlet| outlet.dtype().tensor_shape());
    let sizes = sizes.into_iter().flat_map(|shape| shape.iter());
    sizes
        .map(|&size| usize::try_from(size).unwrap_or(rows))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lfbm_bundle::Bundle;

    use super::*;
    use crate::library::Runtime;
    use crate::options::SessionOptions;
    use crate::posterior_step::PosteriorStep;

    fn recorded(device: Device, spoil: fn(&mut BoundGraph)) -> Result<(), RuntimeError> {
        let runtime = Runtime::load(None).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist-not4");
        let bundle = Bundle::open(&shipped).unwrap();
        let options = SessionOptions {
            device,
            cuda_graphs: true,
            ..SessionOptions::default()
        };
        let mut step = PosteriorStep::open(&runtime, bundle.dir(), bundle.manifest(), &options)?;
        step.record(4)?;
        let graphs = step.cuda_graphs.as_mut().unwrap();
        spoil(graphs.recorded.get_mut(&4).unwrap());
        // Another thread does not replay it, spoilt or not.
        thread::scope(|scope| scope.spawn(|| step.record(1)).join().unwrap()).unwrap();
        step.record(2)?;
        assert_eq!(step.cuda_graphs.unwrap().sizes(), [1, 2, 4]);
        Ok(())
    }

    #[test]
    fn replays_that_read_or_write_elsewhere_are_found() {
        recorded(Device::Cpu, |_| ()).unwrap();
        let read_elsewhere = recorded(Device::Cpu, |bound| bound.inputs.swap(0, 3));
        let write_elsewhere = recorded(Device::Cpu, |bound| {
            let tensor = Mirrored::new(&Allocator::default(), &[4]);
            bound.outputs[2] = tensor.unwrap();
        });
        for (result, output) in [
            (read_elsewhere, "z_next"),
            (write_elsewhere, "log_likelihood"),
        ] {
            let Err(RuntimeError::CudaGraph { rows: 4, what }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(what, output);
        }
    }

    #[test]
    fn tensorrt_is_refused() {
        let error = recorded(Device::TensorRt { id: 0 }, |_| ()).unwrap_err();
        assert!(error.to_string().contains("ask for cuda"), "{error}");
    }

    #[test]
    fn a_missing_gpu_is_named() {
        let error = recorded(Device::Cuda { id: 63 }, |_| ()).unwrap_err();
        assert!(error.to_string().contains("cuda:63"), "{error}");
    }
}
