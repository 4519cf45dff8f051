//! Graphs that a session of ONNX Runtime runs.

use lfbm_bundle::WEIGHTS;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::TensorRef;
use std::fs;
use std::path::Path;

use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output, check_length};
use crate::library::Runtime;
use crate::operators::OffloadedGraph;
use crate::options::SessionOptions;

fn open(
    runtime: &Runtime,
    path: &Path,
    options: &SessionOptions,
    on_device: impl FnOnce(SessionBuilder) -> Result<SessionBuilder, RuntimeError>,
) -> Result<Session, RuntimeError> {
    let precision = options.precision;
    precision
        .check(options.device)
        .map_err(|reason| RuntimeError::Precision { precision, reason })?;
    let failed = |source: ort::Error| RuntimeError::Session {
        path: path.to_path_buf(),
        source,
    };
    let mut builder = Session::builder(&runtime.environment)
        .map_err(failed)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|error| failed(error.into()))?
        .with_intra_threads(options.threads)
        .map_err(|error| failed(error.into()))?
        // Threads that wait by spinning would take the time of those that step.
        .with_intra_op_spinning(false)
        .map_err(|error| failed(error.into()))?
        .with_inter_threads(1)
        .map_err(|error| failed(error.into()))?;
    builder = on_device(builder)?;
    // Into memory: ONNX Runtime would map the weights' file, and whoever writes to it would change
    // the scores of a model that is served, or end the process by cutting it.
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RuntimeError::File { path, source }
    };
    let graph = fs::read(path).map_err(unreadable(path))?;
    let weights = path.with_file_name(WEIGHTS);
    if weights.exists() {
        let bytes = fs::read(&weights).map_err(unreadable(&weights))?;
        builder = builder
            .with_external_initializer_file_in_memory(WEIGHTS, bytes.into())
            .map_err(|error| failed(error.into()))?;
    }
    let offloaded = match options.device {
        Device::Cpu => OffloadedGraph::new(&graph, options.precision),
        Device::Cuda { .. } | Device::TensorRt { .. } => Ok(None),
    };
    let offloaded = offloaded.map_err(|error| RuntimeError::Graph {
        graph: path.display().to_string(),
        reason: error.to_string(),
    })?;
    match offloaded {
        Some(offloaded) => offloaded.commit(builder),
        None => builder.commit_from_memory(&graph),
    }
    .map_err(failed)
}

/// A session.
pub(crate) struct SessionExecutor {
    name: &'static str,
    session: Session,
    /// What selects the first output, the first two, and so on.
    selections: Vec<RunOptions<HasSelectedOutputs>>,
}

impl SessionExecutor {
    /// Opens `name`.onnx in `dir` on the device that `on_device` adds to the session's builder.
    pub(crate) fn open(
        runtime: &Runtime,
        dir: &Path,
        (name, outputs): (&'static str, &[&'static str]),
        options: &SessionOptions,
        on_device: impl FnOnce(SessionBuilder) -> Result<SessionBuilder, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        let path = dir.join(format!("{name}.onnx"));
        let session = open(runtime, &path, options, on_device)?;
        let select = |count| {
            let outputs: &[&str] = &outputs[..count];
            let selector = outputs
                .iter()
                .fold(OutputSelector::no_default(), |selector, &output| {
                    selector.with(output)
                });
            let options = RunOptions::new().map_err(|source| RuntimeError::Run {
                graph: name,
                source,
            })?;
            Ok(options.with_outputs(selector))
        };
        Ok(Self {
            name,
            session,
            selections: (1..=outputs.len()).map(select).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl GraphExecutor for SessionExecutor {
    fn run(
        &mut self,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        let graph = self.name;
        let failed = |source: ort::Error| RuntimeError::Run { graph, source };
        let count = outputs.len();
        let selection = count
            .checked_sub(1)
            .and_then(|last| self.selections.get(last));
        let options = selection.ok_or(RuntimeError::Length {
            graph,
            what: "outputs",
            got: count,
            expected: self.selections.len(),
        })?;
        let mut feeds = Vec::with_capacity(inputs.len());
        for &Input { name, row, values } in inputs {
            let expected = rows * row.iter().product::<usize>();
            check_length(graph, name, values.len(), expected)?;
            let shape: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
            feeds.push((
                name,
                TensorRef::from_array_view((shape, values)).map_err(failed)?,
            ));
        }
        let results = self
            .session
            .run_with_options(feeds, options)
            .map_err(failed)?;
        for Output { name, values } in outputs {
            let (_, computed) = results[*name].try_extract_tensor::<f32>().map_err(failed)?;
            check_length(graph, name, values.len(), computed.len())?;
            values.copy_from_slice(computed);
        }
        Ok(())
    }
}
