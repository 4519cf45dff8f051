//! What replays are checked with.

use ort::session::Session;

use super::bound_graph::shape;
use crate::executor::Input;
use crate::noise::ChainNoise;

/// How far a replay may be from the same step run as usual, as a share of the largest value.
const REPLAY_TOLERANCE: f32 = 1e-3;

/// The inputs of a step, and what makes values of each out of standard normal ones.
const INPUTS: [(&str, fn(f32) -> f32); 6] = [
    ("z", |v| v),
    ("x", |v| v.abs().min(1.0)),
    ("mask", |v| f32::from(u8::from(v > 0.0))),
    ("noise", |v| v),
    ("step_size", |v| 0.1 * v.abs().min(1.0)),
    ("noise_scale", |v| v.abs().min(1.0)),
];

/// Inputs of a step to compare replays with.
pub(super) struct Sample {
    rows: usize,
    /// Names, shapes of a row, and values.
    inputs: Vec<(&'static str, Vec<usize>, Vec<f32>)>,
}

impl Sample {
    pub(super) fn new(session: &Session, rows: usize, seed: u64) -> Self {
        let input = |(chain, (name, map)): (u32, (&'static str, fn(f32) -> f32))| {
            let shape = shape(session.inputs(), name, rows);
            let mut values = vec![0.0; shape.iter().product()];
            ChainNoise::new(seed, chain).initial(&mut values);
            let row = shape.get(1..).unwrap_or_default().to_vec();
            (name, row, values.into_iter().map(map).collect())
        };
        Self {
            rows,
            inputs: (0..).zip(INPUTS).map(input).collect(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn inputs(&self) -> Vec<Input<'_>> {
        let inputs = self.inputs.iter();
        inputs
            .map(|(name, row, values)| Input { name, row, values })
            .collect()
    }

    /// Room for outputs.
    pub(super) fn outputs(
        &self,
        names: &[&'static str],
        session: &Session,
    ) -> Vec<(&'static str, Vec<f32>)> {
        let room = |name| {
            let shape = shape(session.outputs(), name, self.rows);
            vec![0.0; shape.iter().product()]
        };
        names.iter().map(|&name| (name, room(name))).collect()
    }
}

/// Whether `got` is `expected` within [`REPLAY_TOLERANCE`]; what is not finite must be the same.
pub(super) fn agree(got: &[f32], expected: &[f32]) -> bool {
    let finite = expected.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let mut pairs = got.iter().zip(expected);
    pairs.all(|(got, expected)| {
        (got - expected).abs() <= REPLAY_TOLERANCE * largest
            || got == expected
            || got.is_nan() && expected.is_nan()
    })
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn agreement_is_a_matter_of_the_largest_value() {
        let expected = [-1000.0, 0.0, 1.0];
        assert!(agree(&[-1000.9, 0.9, 0.1], &expected));
        assert!(!agree(&[-1001.1, 0.0, 1.0], &expected));
        assert!(!agree(&[-1000.0, 0.0, f32::NAN], &expected));
        let expected = [f32::INFINITY, f32::NAN, 1.0];
        assert!(agree(&expected, &expected));
        assert!(!agree(&[0.0, f32::NAN, 1.0], &expected));
        assert!(!agree(&[f32::INFINITY, 0.0, 1.0], &expected));
        assert!(!agree(&[f32::INFINITY, f32::NAN, 1.1], &expected));
    }
}
