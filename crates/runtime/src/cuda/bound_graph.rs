//! Runs at fixed addresses of a device, which CUDA graphs replay.
//!
//! ONNX Runtime keeps one recorded graph for each number, `gpu_graph_id`, that runs name. A replay
//! looks neither at shapes nor at what is bound: it repeats what was launched on the addresses of
//! its recording. So each number of rows has tensors of its own, which stay where they are, and
//! values are copied into them and out of them.

use std::thread::{self, ThreadId};

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{Outlet, Tensor};

use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::{Input, Output, check_length};

/// The graph as errors call it: without recording it may well run.
const NAME: &str = "posterior with cuda_graphs";

/// A tensor on the device, and where its values are on the CPU.
pub(super) struct Mirrored {
    host: Tensor<f32>,
    device: Tensor<f32>,
}

impl Mirrored {
    pub(super) fn new(allocator: &Allocator, shape: &[usize]) -> ort::Result<Self> {
        Ok(Self {
            host: Tensor::new(&Allocator::default(), shape)?,
            device: Tensor::new(allocator, shape)?,
        })
    }
}

/// What a graph reads and writes for one number of rows.
pub(super) struct BoundGraph {
    thread: ThreadId,
    pub(super) inputs: Vec<Mirrored>,
    pub(super) outputs: Vec<Mirrored>,
    binding: IoBinding,
    options: RunOptions,
}

impl BoundGraph {
    /// Runs are recorded as the graph `id`.
    pub(super) fn new(
        session: &Session,
        device: Device,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &[Output<'_>],
        id: i64,
    ) -> Result<Self, RuntimeError> {
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

    /// Whether a run on this thread with so many outputs replays what was recorded.
    pub(super) fn replays(&self, outputs: usize) -> bool {
        // ONNX Runtime keeps graphs by thread. On another one it would record a second time, which
        // nobody would have checked.
        self.thread == thread::current().id() && self.outputs.len() == outputs
    }

    pub(super) fn run(
        &mut self,
        session: &mut Session,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        for (input, Mirrored { host, device }) in inputs.iter().zip(&mut self.inputs) {
            let (_, values) = host.try_extract_tensor_mut().map_err(failed)?;
            check_length(NAME, input.name, input.values.len(), values.len())?;
            values.copy_from_slice(input.values);
            host.copy_into(device).map_err(failed)?;
        }
        session
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
pub(super) fn shape(outlets: &[Outlet], name: &str, rows: usize) -> Vec<usize> {
    let outlet = outlets.iter().find(|outlet| outlet.name() == name);
    let sizes = outlet.and_then(|outlet| outlet.dtype().tensor_shape());
    let sizes = sizes.into_iter().flat_map(|shape| shape.iter());
    sizes
        .map(|&size| usize::try_from(size).unwrap_or(rows))
        .collect()
}
