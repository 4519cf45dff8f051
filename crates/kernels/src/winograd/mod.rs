//! Convolutions, transposed or not, by minimal filtering: fewer products for the same sums, in single
//! precision.
//!
//! A convolution whose kernel is r times its stride s is the sum of s convolutions of r taps along
//! each axis, one for each phase of the input; a transposed one interleaves as many, one for each phase
//! of the output. A tile of n x n of their outputs takes (n + r - 1)^2 products instead of n^2 r^2
//! ([`points`]). The products at one pair of points, of all tiles, channels and filters, are a matrix
//! product.
//!
//! A row's outputs do not depend on the other rows, to the last bit. An input that is not finite makes
//! all outputs of its tile, and with it of its row, NaN.

mod canvas;
mod channels;
mod layer;
mod plan;
mod points;
mod product;

use crate::convolution::Convolution;
use crate::layer::{Finish, Layer};
use crate::vector::{Instructions, LANES, Vector};
use canvas::Axis;
use layer::Winograd;

/// With fewer channels, too much of a vector is empty.
const LEAST_CHANNELS: usize = LANES;
/// Transformed weights that the cache of all cores holds. More than these take as long to read as to
/// multiply in a small batch, unless an image has [`MANY_TILES`].
const CACHED_BYTES: usize = 16 << 20;
const MANY_TILES: usize = 8;
/// More transformed weights take too much memory.
const MOST_BYTES: usize = 64 << 20;
/// Along an axis: so far, no size overflows.
const MOST_PIXELS: usize = 1 << 14;
/// What is kept between the transforms, of an image. Larger ones do not fit the cache of any core.
const MOST_SCRATCH_BYTES: usize = 4 << 20;
/// Products that are made instead of a hundred. With more, the transforms cost what is saved.
const WORTHWHILE_PERCENT: usize = 75;

/// Whether [`layer`] is worth it for a convolution, here.
pub(super) fn suits(convolution: &Convolution) -> bool {
    Instructions::widest().is_some() && tile(convolution).is_some()
}

/// The layer of a convolution, if it [`suits`] it.
pub(super) fn layer(
    convolution: Convolution,
    output: [usize; 2],
    weights: &[f32],
    finish: Finish,
) -> Option<Box<dyn Layer>> {
    let instructions = Instructions::widest()?;
    macro_rules! layers {
        ($(($n:literal, $t:literal))*) => {
            match tile(&convolution)? {
                $(($n, $t) => Box::new(Winograd::<$n, $t>::new(
                    instructions, convolution, output, weights, finish,
                )),)*
                _ => return None,
            }
        };
    }
    Some(layers!((3, 4)(4, 5)(5, 6)(2, 4)(3, 5)(4, 6)))
}

/// The tile with the fewest products whose weights are not too many: n and T. `None` if even those
/// products are not few enough.
fn tile(convolution: &Convolution) -> Option<(usize, usize)> {
    let output = convolution.output()?;
    let [rows, columns] = convolution.axes;
    let (kernel, stride) = (rows.kernel, rows.stride);
    let square = columns.kernel == kernel && columns.stride == stride;
    let empty = |count| count < LEAST_CHANNELS;
    if !square
        || kernel % stride != 0
        || [rows.pads, columns.pads]
            .as_flattened()
            .iter()
            .any(|&pad| pad >= kernel)
        || convolution.channels.into_iter().any(empty)
        || [convolution.input, output]
            .iter()
            .any(|[y, x]| y.max(x) > &MOST_PIXELS)
    {
        return None;
    }
    let taps = kernel / stride;
    let sizes: &[usize] = match taps {
        2 => &[3, 4, 5],
        3 => &[2, 3, 4],
        _ => return None,
    };
    // From a channel to a filter, in all phases.
    let points = |n: usize| (stride * (n + taps - 1)).pow(2);
    let tiles = |n: usize| {
        let axes = [0, 1].map(|axis| Axis::new(convolution, output, axis, n));
        axes[0].tiles * axes[1].tiles
    };
    let products = |n: usize| tiles(n) * points(n);
    let direct = if convolution.transposed {
        convolution.input
    } else {
        output
    };
    let direct = direct[0] * direct[1] * kernel * kernel;
    let [inputs, outputs] = convolution.channels.map(|count| count.div_ceil(LANES));
    let bytes = |n: usize| points(n) * inputs * LANES * outputs * size_of::<Vector>();
    let fits = |n: usize| {
        let few = tiles(n) < MANY_TILES;
        let scratch = products(n) * (inputs + outputs) * size_of::<Vector>();
        bytes(n) <= if few { CACHED_BYTES } else { MOST_BYTES } && scratch <= MOST_SCRATCH_BYTES
    };
    let worthwhile = |n: usize| 100 * products(n) <= WORTHWHILE_PERCENT * direct;
    let sizes = sizes.iter().copied().filter(|&n| fits(n) && worthwhile(n));
    let n = sizes.min_by_key(|&n| products(n))?;
    Some((n, n + taps - 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::assert_convolves;
    use lfbm_onnx::ConvGeometry;
    use lfbm_testkit::noise;

    fn square(channels: [usize; 2], input: usize, kernel: usize, stride: usize) -> Convolution {
        Convolution {
            channels,
            input: [input; 2],
            axes: [ConvGeometry::new(kernel, stride, 1); 2],
            transposed: false,
        }
    }

    #[test]
    fn the_tile_with_the_fewest_products_is_taken() {
        let transposed = |convolution| Convolution {
            transposed: true,
            ..convolution
        };
        let cases = [
            // Layers of the generator `mnist` and their slopes.
            (transposed(square([128, 64], 7, 4, 2)), Some((4, 5))),
            (transposed(square([64, 32], 14, 4, 2)), Some((5, 6))),
            (square([64, 128], 14, 4, 2), Some((4, 5))),
            (square([32, 64], 28, 4, 2), Some((5, 6))),
            // Of an imported model.
            (square([64, 64], 28, 3, 1), Some((4, 6))),
            // Empty vectors.
            (square([64, 3], 28, 4, 2), None),
            (square([1, 64], 28, 4, 2), None),
            // One tap, and taps that are not alike.
            (square([64, 64], 28, 1, 1), None),
            (square([64, 64], 28, 5, 2), None),
            // Mostly outputs that are not there.
            (square([64, 64], 2, 4, 2), None),
            // Too many weights for few tiles, and for any.
            (transposed(square([512, 256], 7, 4, 2)), Some((3, 4))),
            (transposed(square([512, 256], 4, 4, 2)), None),
            (transposed(square([1024, 512], 8, 4, 2)), None),
            // Too large an image.
            (square([64, 64], 256, 3, 1), None),
            // No convolutions.
            (square([64, 64], 28, 4, 0), None),
            (square([64, 64], 0, 4, 2), None),
        ];
        for (convolution, expected) in cases {
            assert_eq!(tile(&convolution), expected, "{convolution:?}");
        }
    }

    fn convolutions() -> impl Strategy<Value = Convolution> {
        let channels = [16_usize..40, 16..40];
        let strides = (2_usize..4, 1_usize..4);
        let pads = [0_usize..9, 0..9, 0..9, 0..9];
        let shape = (channels, [1_usize..16, 1..16], strides, pads, any::<bool>());
        shape.prop_map(
            |(channels, input, (taps, stride), pads, transposed)| Convolution {
                channels,
                input,
                axes: [0, 1].map(|axis: usize| ConvGeometry {
                    pads: [pads[axis], pads[axis + 2]].map(|pad| pad.min(taps * stride - 1)),
                    ..ConvGeometry::new(taps * stride, stride, 0)
                }),
                transposed,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_convolution_is_the_sum_of_its_products(convolution in convolutions(), size in 0..3) {
            prop_assume!(convolution.output().is_some());
            let mut results = Vec::new();
            for instructions in Instructions::ALL.into_iter().filter(|all| all.available()) {
                macro_rules! check {
                    ($n:literal, $t:literal) => {
                        assert_convolves(convolution, 3, f64::from, 1e-3, |convolution, output, weights, finish| {
                            Box::new(Winograd::<$n, $t>::new(instructions, convolution, output, weights, finish))
                        })
                    };
                }
                results.push(match (convolution.axes[0].kernel / convolution.axes[0].stride, size) {
                    (2, 0) => check!(3, 4),
                    (2, 1) => check!(4, 5),
                    (2, _) => check!(5, 6),
                    (_, 0) => check!(2, 4),
                    (_, 1) => check!(3, 5),
                    (_, _) => check!(4, 6),
                });
            }
            for other in results.iter().skip(1) {
                prop_assert_eq!(other, &results[0]);
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_each_other() {
        let convolution = Convolution {
            transposed: true,
            ..square([20, 16], 7, 4, 2)
        };
        let output = convolution.output().unwrap();
        let weights = noise(20 * 16 * 16, 1);
        let row = 20 * 7 * 7;
        let x = noise(30 * row, 2);
        for instructions in Instructions::ALL.into_iter().filter(|all| all.available()) {
            let finish = Finish {
                bias: vec![0.1; 16],
                slope: 0.0,
            };
            let mut layer =
                Winograd::<4, 5>::new(instructions, convolution, output, &weights, finish);
            let outputs = 16 * output[0] * output[1];
            let mut run = |x: &[f32]| {
                let mut y = vec![f32::NAN; x.len() / row * outputs];
                layer.run(x, &mut y);
                y
            };
            let together = run(&x);
            let mut spoilt = x.clone();
            spoilt[row..2 * row].fill(f32::NAN);
            spoilt[3 * row] = f32::INFINITY;
            let spoilt = run(&spoilt);
            for (index, alone) in x.chunks(row).map(&mut run).enumerate() {
                let of_row = index * outputs..(index + 1) * outputs;
                assert_eq!(alone, together[of_row.clone()], "row {index}");
                if index != 1 && index != 3 {
                    assert_eq!(alone, spoilt[of_row], "row {index} beside spoilt ones");
                }
            }
            assert!(
                spoilt[outputs..2 * outputs]
                    .iter()
                    .all(|value| value.is_nan())
            );
            assert!(run(&[]).is_empty());
        }
    }
}
