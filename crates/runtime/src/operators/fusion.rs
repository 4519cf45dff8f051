//! Fusions as an operator of ONNX Runtime.

use std::sync::Arc;

use lfbm_kernels::{FUSION, Fusion, PROGRAM, Program};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, TensorValueType};

use super::caught::caught;

/// The programs that [`FUSION`] nodes run.
pub(super) struct FusionOperator {
    pub(super) programs: Arc<[Program]>,
}

impl Operator for FusionOperator {
    type Kernel<'attr> = FusionKernel;

    fn name(&self) -> &str {
        FUSION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1).homogenous(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::variadic(1).homogenous(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<FusionKernel> {
        caught(|| {
            let index = context
                .get::<i64>(PROGRAM)
                .and_then(|i| usize::try_from(i).ok());
            let missing = || ort::Error::new("there is no such program");
            let index = index.ok_or_else(missing)?;
            let program = self.programs.get(index).ok_or_else(missing)?;
            let first = program.inputs().len();
            let tensors = (first..first + program.constants())
                .map(|index| context.constant_input::<TensorValueType<f32>>(index));
            let tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
            let constants: Vec<&[f32]> = tensors.iter().map(|t| t.extract_tensor().1).collect();
            Fusion::new(self.programs.clone(), index, &constants)
                .map(FusionKernel)
                .ok_or_else(missing)
        })
    }
}

pub(super) struct FusionKernel(Fusion);

impl FusionKernel {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("an input or an output is missing");
        let program = self.0.program();
        let inputs =
            (0..program.inputs().len()).map(|index| context.input(index)?.ok_or_else(missing));
        let inputs = inputs.collect::<ort::Result<Vec<_>>>()?;
        let inputs = inputs.iter().map(|input| input.try_extract_tensor::<f32>());
        let inputs = inputs.collect::<ort::Result<Vec<_>>>()?;
        let batch = inputs.first().and_then(|(shape, _)| shape.first().copied());
        let batch = batch.unwrap_or_default();
        let rows = batch as usize * program.rows();
        for ((shape, values), width) in inputs.iter().zip(program.inputs()) {
            if values.len() != rows * width {
                let reason = format!(
                    "an input of shape {shape:?}, expected {} values in each of {batch} rows",
                    width * program.rows()
                );
                return Err(ort::Error::new(reason));
            }
        }
        let values: Vec<&[f32]> = inputs.iter().map(|(_, values)| *values).collect();
        let outputs = program.outputs().enumerate().map(|(index, row)| {
            let row = row.iter().map(|&size| size as i64);
            let shape: Vec<i64> = std::iter::once(batch).chain(row).collect();
            context.output(index, shape)?.ok_or_else(missing)
        });
        let mut outputs = outputs.collect::<ort::Result<Vec<_>>>()?;
        let outputs = outputs
            .iter_mut()
            .map(|output| Ok(output.try_extract_tensor_mut::<f32>()?.1));
        let mut outputs = outputs.collect::<ort::Result<Vec<_>>>()?;
        self.0.run(rows, &values, &mut outputs);
        Ok(())
    }
}

impl Kernel for FusionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        caught(|| self.run(context))
    }
}
