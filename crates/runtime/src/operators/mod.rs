//! The kernels as operators of ONNX Runtime, in a domain of their own.

mod caught;
mod fusion;
mod layer;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use lfbm_kernels::{DOMAIN, Offloaded, offload};
use lfbm_onnx::DecodeError;
use ort::operator::OperatorDomain;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use crate::precision::Precision;
use fusion::FusionOperator;
use layer::{Kind, LayerOperator};

/// A graph some of whose nodes run on our kernels.
pub(crate) struct OffloadedGraph {
    offloaded: Offloaded,
    precision: Precision,
}

impl OffloadedGraph {
    /// The graph with every node in [`DOMAIN`] that is faster there on this CPU; `None` if there is none.
    pub(crate) fn new(graph: &[u8], precision: Precision) -> Result<Option<Self>, DecodeError> {
        let bf16 = precision == Precision::Bf16;
        let offloaded = match (offload(graph, bf16), precision) {
            (offloaded, Precision::Bf16) => offloaded?,
            // The same up to rounding, only later: a graph that we cannot read is no reason to refuse it.
            (offloaded, Precision::F32 | Precision::Tf32) => offloaded.unwrap_or_default(),
        };
        Ok(offloaded.map(|offloaded| Self {
            offloaded,
            precision,
        }))
    }

    /// The graph's session. ONNX Runtime enters a domain that it has not seen in a table of the process,
    /// and fails if two threads do so at once: so the first session that has ours is made alone.
    pub(crate) fn commit(&self, builder: SessionBuilder) -> ort::Result<Session> {
        static ENTERED: Mutex<bool> = Mutex::new(false);
        let mut builder = builder.with_operators(self.operators()?)?;
        // A panic while it was locked left it as it was.
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if *entered {
            drop(entered);
            return builder.commit_from_memory(&self.offloaded.graph);
        }
        let session = builder.commit_from_memory(&self.offloaded.graph)?;
        *entered = true;
        Ok(session)
    }

    /// What ONNX Runtime runs for the nodes in [`DOMAIN`].
    fn operators(&self) -> ort::Result<OperatorDomain> {
        let precision = self.precision;
        let kinds = [Kind::Gemm, Kind::Conv, Kind::ConvTranspose];
        let mut domain = OperatorDomain::new(DOMAIN)?;
        for kind in kinds {
            domain = domain.add(LayerOperator { kind, precision })?;
        }
        domain.add(FusionOperator {
            programs: self.offloaded.programs.clone(),
        })
    }
}
