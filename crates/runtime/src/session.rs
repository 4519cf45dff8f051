//! One session a graph. All arrays are row major, `f32`, and lie one row after the other.

use lfbm_bundle::WEIGHTS;
use lfbm_bundle::manifest::Manifest;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::TensorRef;
use std::fs;
use std::path::Path;

use crate::device::Device;
use crate::error::RuntimeError;
use crate::library::Runtime;
use crate::operators::OffloadedGraph;
use crate::options::SessionOptions;
use crate::recording::no_recording;

fn open(runtime: &Runtime, path: &Path, options: &SessionOptions) -> Result<Session, RuntimeError> {
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
    let providers = options.providers();
    if !providers.is_empty() {
        builder = builder
            .with_execution_providers(providers)
            .map_err(|error| runtime.device_error(options.device, &error.into()))?;
    }
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

pub(super) struct Input<'a> {
    pub(super) name: &'static str,
    /// Sizes of a row's dimensions.
    pub(super) row: &'a [usize],
    pub(super) values: &'a [f32],
}

pub(super) struct Output<'a> {
    pub(super) name: &'static str,
    pub(super) values: &'a mut [f32],
}

/// A session with the outputs that its caller wants.
pub(super) struct Graph {
    name: &'static str,
    /// There until it is dropped.
    session: Option<Session>,
    /// Whether threads that record CUDA graphs are in its way.
    on_gpu: bool,
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _guard = self.on_gpu.then(no_recording);
        self.session = None;
    }
}

impl Graph {
    pub(super) fn open(
        runtime: &Runtime,
        dir: &Path,
        name: &'static str,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let options = SessionOptions {
            // The others' tensors lie elsewhere at every run.
            cuda_graphs: options.cuda_graphs && name == "posterior",
            ..*options
        };
        let on_gpu = options.device != Device::Cpu;
        let _guard = on_gpu.then(no_recording);
        let session = open(runtime, &dir.join(format!("{name}.onnx")), &options)?;
        Ok(Self {
            name,
            session: Some(session),
            on_gpu,
        })
    }

    pub(super) fn session(&self) -> Result<&Session, RuntimeError> {
        let closed = RuntimeError::Closed { graph: self.name };
        self.session.as_ref().ok_or(closed)
    }

    pub(super) fn session_mut(&mut self) -> Result<&mut Session, RuntimeError> {
        let closed = RuntimeError::Closed { graph: self.name };
        self.session.as_mut().ok_or(closed)
    }

    pub(super) fn select(
        &self,
        outputs: &[&str],
    ) -> Result<RunOptions<HasSelectedOutputs>, RuntimeError> {
        let selector = outputs
            .iter()
            .fold(OutputSelector::no_default(), |selector, &output| {
                selector.with(output)
            });
        let options = RunOptions::new().map_err(|source| RuntimeError::Run {
            graph: self.name,
            source,
        })?;
        Ok(options.with_outputs(selector))
    }

    pub(super) fn run<const I: usize, const O: usize>(
        &mut self,
        rows: usize,
        inputs: [Input<'_>; I],
        outputs: [Option<Output<'_>>; O],
        options: &RunOptions<HasSelectedOutputs>,
    ) -> Result<(), RuntimeError> {
        let graph = self.name;
        let failed = |source: ort::Error| RuntimeError::Run { graph, source };
        let _guard = self.on_gpu.then(no_recording);
        let mut feeds = Vec::with_capacity(I);
        for Input { name, row, values } in inputs {
            let expected = rows * row.iter().product::<usize>();
            check_length(graph, name, values.len(), expected)?;
            let shape: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
            feeds.push((
                name,
                TensorRef::from_array_view((shape, values)).map_err(failed)?,
            ));
        }
        let results = self
            .session_mut()?
            .run_with_options(feeds, options)
            .map_err(failed)?;
        for Output { name, values } in outputs.into_iter().flatten() {
            let (_, computed) = results[name].try_extract_tensor::<f32>().map_err(failed)?;
            check_length(graph, name, values.len(), computed.len())?;
            values.copy_from_slice(computed);
        }
        Ok(())
    }
}

pub(super) fn check_length(
    graph: &'static str,
    what: &'static str,
    got: usize,
    expected: usize,
) -> Result<(), RuntimeError> {
    if got == expected {
        Ok(())
    } else {
        Err(RuntimeError::Length {
            graph,
            what,
            got,
            expected,
        })
    }
}

pub(super) fn image_row(manifest: &Manifest) -> [usize; 3] {
    [
        manifest.image.channels,
        manifest.image.height,
        manifest.image.width,
    ]
}

macro_rules! map_session {
    ($(#[$doc:meta])* $name:ident, $file:literal, $input:literal: $row:expr, $output:literal) => {
        $(#[$doc])*
        pub struct $name {
            graph: Graph,
            row: Vec<usize>,
            options: RunOptions<HasSelectedOutputs>,
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
                let graph = Graph::open(runtime, dir, $file, options)?;
                let row: fn(&Manifest) -> Vec<usize> = $row;
                Ok(Self { options: graph.select(&[$output])?, row: row(manifest), graph })
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
                    [Input { name: $input, row: &self.row, values: input }],
                    [Some(Output { name: $output, values: output })],
                    &self.options,
                )
            }
        }
    };
}

map_session!(
    /// Intensities in [0, 1] (a byte v is v / 255), rows x C H W, to x: `preprocess.onnx`.
    Preprocess, "preprocess", "image": |manifest| image_row(manifest).to_vec(), "x"
);
map_session!(
    /// Latents, rows x d, to images x, rows x C H W: `generator.onnx`.
    Generator, "generator", "z": |manifest| vec![manifest.latent_dim], "x"
);
map_session!(
    /// Standard normal z0, rows x d, to latents z: `prior.onnx`.
    PriorSampler, "prior", "z0": |manifest| vec![manifest.latent_dim], "z"
);

/// One Langevin step of an energy-based prior: `prior.onnx`.
pub struct PriorStep {
    graph: Graph,
    latent: [usize; 1],
    options: RunOptions<HasSelectedOutputs>,
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
        let graph = Graph::open(runtime, dir, "prior", options)?;
        Ok(Self {
            options: graph.select(&["z_next"])?,
            latent: [manifest.latent_dim],
            graph,
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
            [
                input("z", &self.latent, z),
                input("noise", &self.latent, noise),
                input("step_size", &[], step_size),
            ],
            [Some(Output {
                name: "z_next",
                values: z_next,
            })],
            &self.options,
        )
    }
}
