//! What the tests of layers need.

use std::ops::Range;

use half::bf16;
use lfbm_onnx::ConvGeometry;
use lfbm_testkit::noise;
use proptest::prelude::*;

use crate::convolution::{ByTaps, Convolution, Multiplier};
use crate::layer::{Finish, Layer};

/// What is left of a factor.
pub(super) fn rounded(value: f32) -> f64 {
    bf16::from_f32(value).to_f64()
}

pub(super) fn assert_close(got: f32, before: f64, slope: f64, tolerance: f64) {
    let expected = if before < 0.0 { before * slope } else { before };
    let got = f64::from(got);
    assert!(
        (got - expected).abs() < tolerance,
        "{got}, expected {expected}"
    );
}

/// Asserts that the layer of a convolution computes it, from what is `kept` of the factors. Returns
/// the outputs.
pub(super) fn assert_convolves(
    convolution: Convolution,
    images: usize,
    kept: fn(f32) -> f64,
    tolerance: f64,
    layer: impl FnOnce(Convolution, [usize; 2], &[f32], Finish) -> Box<dyn Layer>,
) -> Vec<f32> {
    let output = convolution.output().unwrap();
    let [channels, filters] = convolution.channels;
    let [height, width] = convolution.kernel();
    let weights = noise(filters * channels * height * width, 1);
    let bias = noise(filters, 2);
    let finish = Finish {
        bias: bias.clone(),
        slope: 0.2,
    };
    let mut layer = layer(convolution, output, &weights, finish);
    assert_eq!(layer.outputs(), [filters, output[0], output[1]]);
    let input = channels * convolution.input[0] * convolution.input[1];
    assert_eq!(layer.inputs(), input);
    let x = noise(images * input, 3);
    let plane = output[0] * output[1];
    let mut y = vec![f32::NAN; images * filters * plane];
    layer.run(&x, &mut y);
    for (x, y) in x.chunks(input).zip(y.chunks(filters * plane)) {
        let sums = convolved(&convolution, output, &weights, x, kept);
        for (index, (&got, sum)) in y.iter().zip(sums).enumerate() {
            assert_close(got, sum + f64::from(bias[index / plane]), 0.2, tolerance);
        }
    }
    y
}

/// y of one image, tap by tap.
fn convolved(
    convolution: &Convolution,
    output: [usize; 2],
    weights: &[f32],
    x: &[f32],
    kept: fn(f32) -> f64,
) -> Vec<f64> {
    let ([channels, filters], [height, width]) = (convolution.channels, convolution.input);
    let [kernel_height, kernel_width] = convolution.kernel();
    let mut y = vec![0.0; filters * output[0] * output[1]];
    for filter in 0..filters {
        for channel in 0..channels {
            for ky in 0..kernel_height {
                for kx in 0..kernel_width {
                    let weight = weights[convolution.weight(filter, channel, [ky, kx])];
                    // A convolution and its transpose pair the same places.
                    let place = |axis: usize, near: usize, k: usize| {
                        let far = near * convolution.axes[axis].stride + k;
                        far.checked_sub(convolution.axes[axis].pads[0])
                    };
                    let (nears, fars) = if convolution.transposed {
                        (convolution.input, output)
                    } else {
                        (output, convolution.input)
                    };
                    for near_y in 0..nears[0] {
                        for near_x in 0..nears[1] {
                            let far = [place(0, near_y, ky), place(1, near_x, kx)];
                            let [Some(far_y), Some(far_x)] = far else {
                                continue;
                            };
                            if far_y >= fars[0] || far_x >= fars[1] {
                                continue;
                            }
                            let ([in_y, in_x], [out_y, out_x]) = if convolution.transposed {
                                ([near_y, near_x], [far_y, far_x])
                            } else {
                                ([far_y, far_x], [near_y, near_x])
                            };
                            let value = x[(channel * height + in_y) * width + in_x];
                            y[(filter * output[0] + out_y) * output[1] + out_x] +=
                                kept(weight) * kept(value);
                        }
                    }
                }
            }
        }
    }
    y
}

/// Convolutions of every kind, with fewer channels and filters than that.
pub(super) fn convolutions(most_channels: usize) -> impl Strategy<Value = Convolution> {
    let sizes = |range: Range<usize>| [range.clone(), range];
    let pads = [0_usize..3, 0..3, 0..3, 0..3];
    let channels = sizes(1..most_channels);
    let shape = (channels, sizes(1..10), sizes(1..6), sizes(1..4), pads);
    (shape, any::<bool>()).prop_map(|(shape, transposed)| {
        let (channels, input, kernel, mut strides, pads) = shape;
        if transposed {
            // Else there are outputs that no input reaches.
            strides = [0, 1].map(|axis: usize| strides[axis].min(kernel[axis]));
        }
        Convolution {
            channels,
            input,
            axes: [0, 1].map(|axis: usize| ConvGeometry {
                pads: [pads[axis], pads[axis + 2]],
                ..ConvGeometry::new(kernel[axis], strides[axis], 0)
            }),
            transposed,
        }
    })
}

/// Asserts that `M` convolves, with factors in bfloat16.
pub(super) fn assert_multiplies<M: Multiplier + 'static>(convolution: Convolution) {
    assert_convolves(
        convolution,
        2,
        rounded,
        1e-4,
        |convolution, output, weights, finish| {
            Box::new(ByTaps::<M>::new(convolution, output, weights, finish))
        },
    );
}
