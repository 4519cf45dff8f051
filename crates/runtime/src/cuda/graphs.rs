//! CUDA graphs of the Langevin step, one for each of some numbers of rows.

use std::collections::BTreeMap;
use std::path::Path;

use super::bound_graph::BoundGraph;
use super::executor::GpuExecutor;
use super::recording::{no_recording, recording};
use super::replay::{Sample, agree};
use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output};
use crate::library::Runtime;
use crate::options::SessionOptions;

/// Says that a run is neither recorded nor replayed.
const UNRECORDED: i64 = -1;
/// Runs of a number until it has a graph for certain: ONNX Runtime records after one or two
/// ordinary ones.
const RECORDING_RUNS: usize = 3;
/// Outputs of a recorded step: `z_next` and both densities. A step that gives reconstructions too is run
/// as usual.
const RECORDED_OUTPUTS: usize = 3;

/// The Langevin step, with recorded graphs.
pub(super) struct CudaGraphs {
    device: Device,
    outputs: &'static [&'static str],
    /// Lie in the session's memory, so they go before the session does.
    recorded: BTreeMap<usize, BoundGraph>,
    gpu: GpuExecutor,
}

impl CudaGraphs {
    pub(super) fn open(
        runtime: &Runtime,
        dir: &Path,
        graph: (&'static str, &'static [&'static str]),
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            device: options.device,
            outputs: graph.1,
            recorded: BTreeMap::new(),
            gpu: GpuExecutor::open(runtime, dir, graph, options)?,
        })
    }

    /// The numbers of rows that are recorded, ascending.
    fn sizes(&self) -> Vec<usize> {
        self.recorded.keys().copied().collect()
    }

    /// Records the step of as many rows as `sample` has. A run of so many has been before, so that kernels
    /// are chosen and memory is there.
    fn record(&mut self, sample: &Sample) -> Result<(), RuntimeError> {
        let _guard = recording();
        let rows = sample.rows();
        let id = i64::try_from(rows).unwrap_or(UNRECORDED);
        let session = self.gpu.session()?;
        let (inputs, mut values) = (sample.inputs(), sample.outputs(self.outputs, session));
        values.truncate(RECORDED_OUTPUTS);
        let mut outputs = as_outputs(&mut values);
        let mut bound = BoundGraph::new(session, self.device, rows, &inputs, &outputs, id)?;
        for _ in 0..RECORDING_RUNS {
            bound.run(session, &inputs, &mut outputs)?;
        }
        self.recorded.insert(rows, bound);
        Ok(())
    }

    /// The first `count` outputs for `sample`: all of them from a run as usual, those that are recorded
    /// from a replay.
    fn sample_run(
        &mut self,
        sample: &Sample,
        count: usize,
    ) -> Result<Vec<(&'static str, Vec<f32>)>, RuntimeError> {
        let mut values = sample.outputs(self.outputs, self.gpu.session()?);
        values.truncate(count);
        self.run(
            sample.rows(),
            &sample.inputs(),
            &mut as_outputs(&mut values),
        )?;
        Ok(values)
    }

    fn check_replay(&mut self, rows: usize, seed: u64) -> Result<(), RuntimeError> {
        let sample = Sample::new(self.gpu.session()?, rows, seed);
        let expected = self.sample_run(&sample, self.outputs.len())?;
        let got = self.sample_run(&sample, RECORDED_OUTPUTS)?;
        for ((what, got), (_, expected)) in got.iter().zip(&expected) {
            if !agree(got, expected) {
                return Err(RuntimeError::CudaGraph { rows, what });
            }
        }
        Ok(())
    }
}

fn as_outputs<'a>(values: &'a mut [(&'static str, Vec<f32>)]) -> Vec<Output<'a>> {
    let outputs = values.iter_mut();
    outputs
        .map(|(name, values)| Output { name, values })
        .collect()
}

impl GraphExecutor for CudaGraphs {
    /// By a replay if this thread recorded so many rows and as many outputs.
    fn run(
        &mut self,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        let _guard = no_recording();
        let session = self.gpu.session()?;
        match self.recorded.get_mut(&rows) {
            Some(bound) if bound.replays(outputs.len()) => bound.run(session, inputs, outputs),
            _ => BoundGraph::new(session, self.device, rows, inputs, outputs, UNRECORDED)?
                .run(session, inputs, outputs),
        }
    }

    /// Records a CUDA graph, unless there is one, and compares replays of all of them with runs as usual.
    fn prepare(&mut self, rows: usize) -> Result<(), RuntimeError> {
        let mut sizes = self.sizes();
        if sizes.contains(&rows) {
            return Ok(());
        }
        let sample = Sample::new(self.gpu.session()?, rows, 0);
        self.sample_run(&sample, self.outputs.len())?;
        self.record(&sample)?;
        sizes.push(rows);
        // The others too: memory that they use between their launches is anybody's in between. Their
        // inputs are new, since stale ones would go unnoticed otherwise.
        let seed = sizes.len() as u64;
        sizes
            .into_iter()
            .try_for_each(|rows| self.check_replay(rows, seed))
    }
}

impl Drop for CudaGraphs {
    fn drop(&mut self) {
        let _guard = no_recording();
        self.recorded.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use lfbm_bundle::Bundle;

    use ort::memory::Allocator;

    use super::*;
    use crate::cuda::bound_graph::Mirrored;
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
        let outputs = &["z_next", "log_prior", "log_likelihood", "reconstruction"];
        let mut step = CudaGraphs::open(&runtime, bundle.dir(), ("posterior", outputs), &options)?;
        step.prepare(4)?;
        spoil(step.recorded.get_mut(&4).unwrap());
        // Another thread does not replay it, spoilt or not.
        thread::scope(|scope| scope.spawn(|| step.prepare(1)).join().unwrap()).unwrap();
        step.prepare(2)?;
        assert_eq!(step.sizes(), [1, 2, 4]);
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

    fn refused(device: Device) -> String {
        let runtime = Runtime::load(None).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist-not4");
        let bundle = Bundle::open(&shipped).unwrap();
        let options = SessionOptions {
            device,
            cuda_graphs: true,
            ..SessionOptions::default()
        };
        match PosteriorStep::open(&runtime, bundle.dir(), bundle.manifest(), &options) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{device} was opened"),
        }
    }

    #[test]
    fn tensorrt_is_refused() {
        let error = refused(Device::TensorRt { id: 0 });
        assert!(error.contains("ask for cuda"), "{error}");
    }

    #[test]
    fn a_missing_gpu_is_named() {
        let error = refused(Device::Cuda { id: 63 });
        assert!(error.contains("cuda:63"), "{error}");
    }
}
