//! From nodes to instructions.

use std::collections::HashMap;

use lfbm_onnx::{Concat, Constant, Dim, ElementType, Gemm, Graph, Node, Op, Reduction, Value};

use super::{
    Binary, Compiled, Instruction, LEAST_WEIGHTS, Layout, Operand, Operation, Output, Program,
    Source, Unary,
};

/// Values in a row: so far, no product of sizes overflows.
const MOST_VALUES: usize = 1 << 28;

/// The program of `nodes`, in an order in which they can run, that puts out `outputs`. `None` if one of
/// them does not work on rows, or on weights that are not constant, or is not known here.
pub(crate) fn compile(graph: &Graph, nodes: &[&Node], outputs: &[Value]) -> Option<Compiled> {
    let mut compiler = Compiler {
        graph,
        sources: HashMap::new(),
        inputs: Vec::new(),
        constants: Vec::new(),
        layouts: Vec::new(),
        instructions: Vec::new(),
    };
    for node in nodes {
        compiler.node(node)?;
    }
    compiler.finish(outputs)
}

/// Whether a node only gives its input another shape.
pub(crate) fn is_view(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Flatten(_) | Op::Identity | Op::Reshape | Op::Squeeze | Op::Unsqueeze
    )
}

struct Compiler<'a> {
    graph: &'a Graph,
    /// Where values that vary are. Each instruction has a slot of its own, as yet.
    sources: HashMap<Value, Source>,
    inputs: Vec<Value>,
    constants: Vec<Value>,
    layouts: Vec<Layout>,
    instructions: Vec<Instruction>,
}

impl Compiler<'_> {
    fn node(&mut self, node: &Node) -> Option<()> {
        let [output] = &node.outputs[..] else {
            return None;
        };
        let row = self.row(output)?;
        let source = match &node.op {
            Op::Abs => self.unary(Unary::Abs, node, &row),
            Op::Add => self.binary(Binary::Add, node, &row),
            Op::Clip => self.clip(node, &row),
            Op::Concat(concat) => self.concat(concat, node, &row),
            Op::Div => self.binary(Binary::Div, node, &row),
            Op::Exp => self.unary(Unary::Exp, node, &row),
            Op::Gemm(gemm) => self.product(gemm, node, &row),
            Op::LeakyRelu(leaky) => self.unary(Unary::LeakyRelu(leaky.alpha()), node, &row),
            Op::Mul => self.binary(Binary::Mul, node, &row),
            Op::Neg => self.unary(Unary::Neg, node, &row),
            Op::ReduceSum(axes) => self.sum(None, axes, node, &row),
            Op::ReduceSumSquare(axes) => self.sum(Some(Unary::Square), axes, node, &row),
            Op::Relu => self.unary(Unary::LeakyRelu(0.0), node, &row),
            Op::Sigmoid => self.unary(Unary::Sigmoid, node, &row),
            Op::Sign => self.unary(Unary::Sign, node, &row),
            Op::Sqrt => self.unary(Unary::Sqrt, node, &row),
            Op::Sub => self.binary(Binary::Sub, node, &row),
            Op::Tanh => self.unary(Unary::Tanh, node, &row),
            Op::Flatten(_) | Op::Identity | Op::Reshape | Op::Squeeze | Op::Unsqueeze => {
                self.view(node, &row)
            }
            // What has no instruction of its own, and runs in ONNX Runtime.
            Op::And
            | Op::Atan
            | Op::Ceil
            | Op::Constant(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Cos
            | Op::Elu(_)
            | Op::Equal
            | Op::Erf
            | Op::Expand
            | Op::Floor
            | Op::Greater
            | Op::GreaterOrEqual
            | Op::Less
            | Op::LessOrEqual
            | Op::Log
            | Op::LogSoftmax(_)
            | Op::MatMul
            | Op::Max
            | Op::Min
            | Op::Not
            | Op::Or
            | Op::Pad
            | Op::Pow
            | Op::ReduceMax(_)
            | Op::ReduceMean(_)
            | Op::Round
            | Op::Shape
            | Op::Sin
            | Op::Slice
            | Op::Softmax(_)
            | Op::Softplus
            | Op::Split(_)
            | Op::Transpose(_)
            | Op::Where
            | Op::Xor => None,
        };
        self.sources.insert(output.clone(), source?);
        Some(())
    }

    /// Sizes of a row of a value that varies.
    fn row(&self, value: &Value) -> Option<Vec<usize>> {
        let value_type = self.graph.value_type(value).ok()?;
        let [Dim::Batch, sizes @ ..] = &value_type.shape[..] else {
            return None;
        };
        let sizes = sizes.iter().map(|size| match size {
            Dim::Fixed(size) => Some(*size),
            Dim::Batch => None,
        });
        let sizes = sizes.collect::<Option<Vec<_>>>()?;
        let mut of_all = sizes.iter();
        let values = of_all.try_fold(1_usize, |values, &size| values.checked_mul(size))?;
        (value_type.element == ElementType::F32 && (1..=MOST_VALUES).contains(&values))
            .then_some(sizes)
    }

    fn push(&mut self, operation: Operation, operands: Vec<Operand>, row: &[usize]) -> Source {
        let result = self.instructions.len();
        let width = row.iter().product();
        self.instructions.push(Instruction {
            operation,
            operands,
            result,
            width,
            segment: width,
        });
        Source::Slot(result)
    }

    /// A value that varies, an input if no instruction made it.
    fn varying(&mut self, value: &Value) -> Option<Operand> {
        let width = self.row(value)?.iter().product();
        let source = *self.sources.entry(value.clone()).or_insert_with(|| {
            self.inputs.push(value.clone());
            Source::Input(self.inputs.len() - 1)
        });
        Some(Operand {
            source,
            width,
            run: 1,
        })
    }

    fn constant(&mut self, value: &Value, layout: Layout) -> Source {
        let mut known = self.constants.iter().zip(&self.layouts);
        let found = known.position(|known| known == (value, &layout));
        let index = found.unwrap_or_else(|| {
            self.constants.push(value.clone());
            self.layouts.push(layout);
            self.constants.len() - 1
        });
        Source::Constant(index)
    }

    /// The tensor of weights that a value is.
    fn weights(&self, value: &Value) -> Option<Vec<usize>> {
        match self.graph.constants().get(value)? {
            Constant::F32(tensor) => Some(tensor.shape.clone()),
            Constant::I64 { .. } => None,
        }
    }

    /// A value as it is broadcast to a row: along its first axes, or its last ones, or both.
    fn spread(&mut self, value: &Value, row: &[usize]) -> Option<Operand> {
        let constant = self.weights(value);
        let own = match &constant {
            Some(sizes) => {
                // The axis of the batch, and those in front of it, if there are any.
                let (before, sizes) = sizes.split_at(sizes.len().saturating_sub(row.len()));
                let missing = row.len() - sizes.len();
                let whole = before.iter().all(|&size| size == 1);
                whole.then(|| [&vec![1; missing], sizes].concat())?
            }
            None => self.row(value).filter(|own| own.len() == row.len())?,
        };
        let first = own.iter().position(|&size| size != 1).unwrap_or(own.len());
        let end = own
            .iter()
            .rposition(|&size| size != 1)
            .map_or(first, |last| last + 1);
        if own[first..end] != row[first..end] {
            return None;
        }
        let source = match constant {
            Some(_) => self.constant(value, Layout::Row),
            None => self.varying(value)?.source,
        };
        Some(Operand {
            source,
            width: own[first..end].iter().product(),
            run: row[end..].iter().product(),
        })
    }

    fn unary(&mut self, function: Unary, node: &Node, row: &[usize]) -> Option<Source> {
        let x = self.varying(node.optional_input(0)?)?;
        Some(self.push(Operation::Unary(function), vec![x], row))
    }

    fn binary(&mut self, function: Binary, node: &Node, row: &[usize]) -> Option<Source> {
        let left = self.spread(node.optional_input(0)?, row)?;
        let right = self.spread(node.optional_input(1)?, row)?;
        self.pairs(function, [left, right], row)
    }

    fn pairs(&mut self, function: Binary, operands: [Operand; 2], row: &[usize]) -> Option<Source> {
        let width = row.iter().product();
        let segments = operands.map(|operand| operand.segment(width));
        let segment = segments[0].min(segments[1]);
        if segments.iter().any(|length| length % segment != 0) {
            return None;
        }
        let source = self.push(Operation::Binary(function), operands.to_vec(), row);
        self.instructions.last_mut()?.segment = segment;
        Some(source)
    }

    /// The same values in a row of other sizes.
    fn view(&mut self, node: &Node, row: &[usize]) -> Option<Source> {
        let x = self.varying(node.optional_input(0)?)?;
        (x.width == row.iter().product::<usize>()).then_some(x.source)
    }

    fn clip(&mut self, node: &Node, row: &[usize]) -> Option<Source> {
        let mut x = self.varying(node.optional_input(0)?)?;
        for (index, function) in [(1, Binary::AtLeast), (2, Binary::AtMost)] {
            if let Some(bound) = node.optional_input(index) {
                let bound = self.spread(bound, row)?;
                x.source = self.pairs(function, [x, bound], row)?;
            }
        }
        Some(x.source)
    }

    fn concat(&mut self, concat: &Concat, node: &Node, row: &[usize]) -> Option<Source> {
        let axis = concat.axis;
        let axis = if axis < 0 {
            axis + row.len() as i64 + 1
        } else {
            axis
        };
        // Of the batch, then of a row.
        let axis = usize::try_from(axis).ok()?.checked_sub(1)?;
        let sections = row.get(..axis)?.iter().product();
        let parts = node
            .inputs
            .iter()
            .map(|value| self.varying(value.as_ref()?));
        let parts = parts.collect::<Option<_>>()?;
        Some(self.push(Operation::Concat { sections }, parts, row))
    }

    fn product(&mut self, gemm: &Gemm, node: &Node, row: &[usize]) -> Option<Source> {
        if !gemm.is_plain() {
            return None;
        }
        let x = self.varying(node.optional_input(0)?)?;
        let weights = node.optional_input(1)?;
        if self.weights(weights)?.iter().product::<usize>() >= LEAST_WEIGHTS {
            return None;
        }
        let results = row.iter().product();
        let layout = Layout::Matrix {
            summands: x.width,
            results,
            transposed: gemm.trans_b(),
        };
        let mut operands = vec![
            x,
            Operand {
                source: self.constant(weights, layout),
                width: results,
                run: 1,
            },
        ];
        if let Some(addend) = node.optional_input(2) {
            let addend = self.spread(addend, row)?;
            let row_by_row = addend.width == results && addend.run == 1;
            operands.push(row_by_row.then_some(addend)?);
        }
        Some(self.push(Operation::Product, operands, row))
    }

    /// The sum over the last axes of a row, of what a function makes of the values.
    fn sum(
        &mut self,
        function: Option<Unary>,
        reduction: &Reduction,
        node: &Node,
        row: &[usize],
    ) -> Option<Source> {
        let value = node.optional_input(0)?;
        let mut x = self.varying(value)?;
        let x_row = self.row(value)?;
        let rank = x_row.len() + 1;
        let mut axes = reduction.axes(self.graph, node, rank).ok()?;
        axes.sort_unstable();
        axes.dedup();
        let last = rank.checked_sub(axes.len())?..rank;
        if last.is_empty() || last.start == 0 || !axes.into_iter().eq(last) {
            return None;
        }
        if let Some(function) = function {
            x.source = self.push(Operation::Unary(function), vec![x], &x_row);
        }
        Some(self.push(Operation::Sum, vec![x], row))
    }

    fn finish(self, outputs: &[Value]) -> Option<Compiled> {
        let outputs = outputs.iter().map(|value| {
            let row = self.row(value)?;
            Some(Output {
                source: *self.sources.get(value)?,
                width: row.iter().product(),
                row,
            })
        });
        let inputs = self.inputs.iter().map(|value| {
            let row = self.row(value)?;
            Some(row.iter().product())
        });
        let mut program = Program {
            outputs: outputs.collect::<Option<_>>()?,
            inputs: inputs.collect::<Option<_>>()?,
            constants: self.layouts,
            slots: Vec::new(),
            instructions: self.instructions,
            rows: 1,
        };
        if program.inputs.is_empty() {
            return None;
        }
        program.flatten();
        program.share_slots();
        Some(([self.inputs, self.constants].concat(), program))
    }
}

impl Operand {
    /// How many neighbours of a row of `width` results meet one value, or as many neighbours.
    fn segment(&self, width: usize) -> usize {
        match (self.width, self.run) {
            (1, _) => width,
            (own, 1) => own,
            (_, run) => run,
        }
    }
}

impl Program {
    /// Makes every value a row where that makes no difference.
    fn flatten(&mut self) {
        let width = self.instructions.first().map_or(1, |first| first.width);
        let alike = |operand: &Operand| match operand.source {
            Source::Constant(_) => operand.width == 1,
            Source::Input(_) | Source::Slot(_) => operand.width == width,
        };
        let all = self.instructions.iter().all(|instruction| {
            let elementwise = matches!(
                instruction.operation,
                Operation::Unary(_) | Operation::Binary(_)
            );
            elementwise && instruction.width == width && instruction.operands.iter().all(alike)
        });
        if !all || self.outputs.iter().any(|output| output.width != width) {
            return;
        }
        self.rows = width;
        self.inputs.fill(1);
        for instruction in &mut self.instructions {
            (instruction.width, instruction.segment) = (1, 1);
            for operand in &mut instruction.operands {
                (operand.width, operand.run) = (1, 1);
            }
        }
        for output in &mut self.outputs {
            output.width = 1;
        }
    }

    /// Lets results take the slots of those that nobody reads any more.
    fn share_slots(&mut self) {
        let mut last_reads = vec![0; self.instructions.len()];
        for (index, instruction) in self.instructions.iter().enumerate() {
            for operand in &instruction.operands {
                if let Source::Slot(slot) = operand.source {
                    last_reads[slot] = index;
                }
            }
        }
        for output in &self.outputs {
            if let Source::Slot(slot) = output.source {
                last_reads[slot] = usize::MAX;
            }
        }
        let mut free: Vec<usize> = Vec::new();
        let mut shared = vec![0; self.instructions.len()];
        for (index, instruction) in self.instructions.iter_mut().enumerate() {
            let mut read = Vec::new();
            for operand in &mut instruction.operands {
                if let Source::Slot(slot) = &mut operand.source {
                    if last_reads[*slot] == index && !read.contains(&shared[*slot]) {
                        read.push(shared[*slot]);
                    }
                    *slot = shared[*slot];
                }
            }
            let fits = free
                .iter()
                .position(|&slot| self.slots[slot] == instruction.width);
            let slot = match fits {
                Some(position) => free.swap_remove(position),
                None => {
                    self.slots.push(instruction.width);
                    self.slots.len() - 1
                }
            };
            shared[index] = slot;
            instruction.result = slot;
            free.extend(read);
            if last_reads[index] == 0 {
                // Nobody reads it.
                free.push(slot);
            }
        }
        for output in &mut self.outputs {
            if let Source::Slot(slot) = &mut output.source {
                *slot = shared[*slot];
            }
        }
    }
}
