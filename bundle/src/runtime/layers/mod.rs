//! The large layers of a network on the processor, where we are faster than ONNX Runtime.
//!
//! [`winograd`] has convolutions in single precision with fewer products. [`bf16`] has layers of every
//! kind in bfloat16, for which ONNX Runtime has no kernels on x86-64; convolutions with fewer products
//! are faster even then, and stay in single precision.
//!
//! [`fusion`] runs what lies between layers, in single precision as well.
//!
//! [`Moved`] is a graph with all of these in a domain of their own, and what ONNX Runtime runs for them.

pub(super) mod bf16;
mod fusion;
mod operator;
mod shared;
#[cfg(test)]
mod testing;
mod vector;
#[cfg(target_arch = "x86_64")]
mod winograd;
#[cfg(not(target_arch = "x86_64"))]
#[path = "winograd_elsewhere.rs"]
mod winograd;

use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::OperatorDomain;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use super::Precision;
use crate::onnx::{DecodeError, Movable, Program, Rewriter};
use fusion::FusionOperator;
use operator::{Kind, LayerOperator};

/// What the operators' names are looked up in.
const DOMAIN: &str = "lfbm";

/// A graph with operators of [`DOMAIN`].
pub(super) struct Moved {
    graph: Vec<u8>,
    precision: Precision,
    programs: Arc<[Program]>,
}

impl Moved {
    /// The graph with everything in [`DOMAIN`] that is faster there on this processor; `None` if there is
    /// nothing.
    pub(super) fn of(graph: &[u8], precision: Precision) -> Result<Option<Self>, DecodeError> {
        let moved = Self::new(graph, precision);
        match precision {
            Precision::Bf16 => moved,
            // The same up to rounding, only later: a graph that we cannot read is no reason to refuse it.
            Precision::F32 | Precision::Tf32 => Ok(moved.unwrap_or_default()),
        }
    }

    fn new(graph: &[u8], precision: Precision) -> Result<Option<Self>, DecodeError> {
        let mut rewriter = Rewriter::read(graph, DOMAIN)?;
        rewriter.move_layers(|layer| match (precision, layer) {
            (Precision::Bf16, _) => true,
            (_, Movable::Linear) => false,
            (_, Movable::Convolution(geometry)) => winograd::suits(geometry),
        })?;
        let programs = rewriter.fuse().into();
        Ok(rewriter.finish().map(|graph| Self {
            graph,
            precision,
            programs,
        }))
    }

    /// The graph's session. ONNX Runtime enters a domain that it has not seen in a table of the process,
    /// and fails if two threads do so at once: so the first session that has ours is made alone.
    pub(super) fn commit(&self, builder: SessionBuilder) -> ort::Result<Session> {
        static ENTERED: Mutex<bool> = Mutex::new(false);
        let mut builder = builder.with_operators(self.operators()?)?;
        // A panic while it was locked left it as it was.
        let mut entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if *entered {
            drop(entered);
            return builder.commit_from_memory(&self.graph);
        }
        let session = builder.commit_from_memory(&self.graph)?;
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
            programs: self.programs.clone(),
        })
    }
}

/// Rows of inputs to as many of outputs.
trait Layer: Send {
    /// Values in a row of the input.
    fn inputs(&self) -> usize;

    /// Sizes of a row of the output.
    fn outputs(&self) -> Vec<usize>;

    fn run(&mut self, x: &[f32], y: &mut [f32]);
}

/// What follows a product: a bias, then a leaky rectifier.
struct Finish {
    /// One value an output.
    bias: Vec<f32>,
    slope: f32,
}

fn rectify(value: f32, slope: f32) -> f32 {
    // Infinity times 0 is no number.
    let negative = if slope == 0.0 { 0.0 } else { value * slope };
    if value < 0.0 { negative } else { value }
}
