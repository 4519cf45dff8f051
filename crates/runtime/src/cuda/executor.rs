//! Sessions on a GPU, which other threads must not disturb while they record.

use std::path::Path;

use ort::session::Session;

use super::providers::register;
use super::recording::no_recording;
use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output};
use crate::library::Runtime;
use crate::options::SessionOptions;
use crate::session::SessionExecutor;

/// A session that is opened, run and closed while no thread records.
pub(super) struct GpuExecutor {
    name: &'static str,
    /// There until it is dropped.
    executor: Option<SessionExecutor>,
}

impl GpuExecutor {
    pub(super) fn open(
        runtime: &Runtime,
        dir: &Path,
        graph: (&'static str, &'static [&'static str]),
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let _guard = no_recording();
        let on_device = |builder| register(runtime, options, builder);
        let executor = SessionExecutor::open(runtime, dir, graph, options, on_device)?;
        Ok(Self {
            name: graph.0,
            executor: Some(executor),
        })
    }

    fn executor(&mut self) -> Result<&mut SessionExecutor, RuntimeError> {
        let closed = RuntimeError::Closed { graph: self.name };
        self.executor.as_mut().ok_or(closed)
    }

    /// The session. Whoever runs it keeps threads from recording.
    pub(super) fn session(&mut self) -> Result<&mut Session, RuntimeError> {
        Ok(self.executor()?.session_mut())
    }
}

impl GraphExecutor for GpuExecutor {
    fn run(
        &mut self,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError> {
        let _guard = no_recording();
        self.executor()?.run(rows, inputs, outputs)
    }
}

impl Drop for GpuExecutor {
    fn drop(&mut self) {
        let _guard = no_recording();
        self.executor = None;
    }
}
