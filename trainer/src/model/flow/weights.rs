//! A flow's weights in the layout of the bundle.

use lfbm_model::{FlowStepWeights, FlowWeights};
use tch::Kind;

use super::{Flow, FlowStep, Mixture};
use crate::model::host::{to_host, values};
use crate::model::linear::Linear;

impl Flow {
    /// The weights of the steps and of the base.
    pub fn weights(&self) -> FlowWeights {
        let _guard = tch::no_grad_guard();
        FlowWeights {
            steps: self.steps.iter().map(FlowStep::weights).collect(),
            base: self.base.iter().map(Mixture::weights).collect(),
        }
    }
}

impl FlowStep {
    fn weights(&self) -> FlowStepWeights {
        let Self {
            actnorm,
            linear,
            coupling,
        } = self;
        // Inverted in double precision: single would lose digits that the graph still has.
        let matrix = linear.matrix().to_kind(Kind::Double);
        FlowStepWeights {
            bias: values(&actnorm.bias),
            log_scale: values(&actnorm.log_scale),
            inverse: to_host(&matrix.inverse()),
            matrix: to_host(&matrix),
            log_abs_det: linear.log_abs_det().double_value(&[]) as f32,
            coupling: coupling.layers.each_ref().map(Linear::weights),
        }
    }
}
