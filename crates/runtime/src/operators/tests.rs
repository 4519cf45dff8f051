//! Fusions beside the nodes that they are made of.

use lfbm_onnx::Tensor;
use lfbm_testkit::{Rows, WIDTH, every_operation, row_inputs};
use proptest::prelude::*;

use super::testing::evaluate_offloaded;
use crate::evaluate::evaluate;
use crate::library::Runtime;
use crate::precision::Precision;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fusions_give_what_their_nodes_give(
        operations in prop::collection::vec((0..12_usize, 0..30_usize, 0..30_usize), 2..40),
        rows in 1..40_usize,
    ) {
        let mut graph = Rows::new().unwrap();
        let layers = operations.iter().filter(|(operation, ..)| *operation == 11).count();
        for (operation, a, b) in operations {
            graph.push(operation, [a, b]).unwrap();
        }
        let graph = graph.finish().unwrap();
        let runtime = Runtime::load(None).unwrap();
        let inputs = row_inputs(rows);
        let expected = evaluate(&runtime, &graph, &inputs).unwrap();
        let got = evaluate_offloaded(&runtime, &graph, Precision::F32, &inputs);
        // Two operations at least, of two nodes each; but those of layers stay.
        prop_assert!(got.is_some() || layers > 0);
        for (got, expected) in got.iter().flatten().zip(&expected) {
            prop_assert_eq!(&got.shape, &expected.shape);
            for (got, expected) in got.data.iter().zip(&expected.data) {
                prop_assert!((got - expected).abs() < 1e-4, "{}, expected {}", got, expected);
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let runtime = Runtime::load(None).unwrap();
    let graph = every_operation().unwrap();
    let run =
        |inputs: &[Tensor]| evaluate_offloaded(&runtime, &graph, Precision::F32, inputs).unwrap();
    let rows = 100;
    let mut all = row_inputs(rows);
    for input in &mut all {
        let width = input.data.len() / rows;
        input.data[7 * width..8 * width].fill(f32::NAN);
        input.data[60 * width..61 * width].fill(f32::INFINITY);
    }
    let together = run(&all);
    for row in [0, 6, 8, 59, 61, 99] {
        let only = |tensor: &Tensor| {
            let width = tensor.data.len() / rows;
            let mut shape = tensor.shape.clone();
            shape[0] = 1;
            Tensor::new(shape, tensor.data[row * width..][..width].to_vec())
        };
        let alone = run(&all.iter().map(only).collect::<Vec<_>>());
        for (alone, together) in alone.iter().zip(&together) {
            assert!(alone.data.iter().all(|value| value.is_finite()));
            assert_eq!(alone.data, only(together).data, "row {row}");
        }
    }
    assert!(
        together[0].data[7 * WIDTH..8 * WIDTH]
            .iter()
            .all(|v| v.is_nan())
    );
}
