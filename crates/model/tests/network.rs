//! EfficientNet-Lite0's graph computes what its layers say, one by one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use lfbm_model::{ModelError, efficientnet_lite0, read_checkpoint};
use lfbm_onnx::Tensor;
use lfbm_runtime::{Runtime, evaluate};
use lfbm_testkit::{checkpoint, noise};

/// Blocks, stride, kernel, expansion and channels of each stage.
const STAGES: [[usize; 5]; 7] = [
    [1, 1, 3, 1, 16],
    [2, 2, 3, 6, 24],
    [2, 2, 5, 6, 40],
    [3, 2, 3, 6, 80],
    [3, 1, 5, 6, 112],
    [4, 2, 5, 6, 192],
    [1, 1, 3, 6, 320],
];

#[derive(Default)]
struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    fn layer(&mut self, conv: &str, norm: &str, shape: [usize; 4]) {
        let seed = self.0.len() as u64;
        let fan_in = (shape[1] * shape[2] * shape[3]) as f32;
        let count = shape.iter().product();
        let values = noise(count, seed)
            .iter()
            .map(|v| v * (3.0 / fan_in).sqrt())
            .collect();
        self.0
            .insert(format!("{conv}.weight"), Tensor::new(shape, values));
        for (index, (name, middle)) in [
            ("weight", 1.0),
            ("bias", 0.2),
            ("running_mean", 0.0),
            ("running_var", 0.5),
        ]
        .into_iter()
        .enumerate()
        {
            let values = noise(shape[0], seed + 1000 * (index as u64 + 1));
            let values = values
                .iter()
                .map(|v| middle + 0.1 * v.clamp(-2.0, 2.0))
                .collect();
            self.0
                .insert(format!("{norm}.{name}"), Tensor::new([shape[0]], values));
        }
    }

    fn random() -> Self {
        let mut weights = Self::default();
        weights.layer("_conv_stem", "_bn0", [32, 3, 3, 3]);
        let (mut channels, mut block) = (32, 0);
        for [blocks, _, kernel, expansion, outputs] in STAGES {
            for _ in 0..blocks {
                let at = format!("_blocks.{block}");
                let inner = channels * expansion;
                if expansion > 1 {
                    let shape = [inner, channels, 1, 1];
                    weights.layer(&format!("{at}._expand_conv"), &format!("{at}._bn0"), shape);
                }
                let shape = [inner, 1, kernel, kernel];
                weights.layer(
                    &format!("{at}._depthwise_conv"),
                    &format!("{at}._bn1"),
                    shape,
                );
                let shape = [outputs, inner, 1, 1];
                weights.layer(&format!("{at}._project_conv"), &format!("{at}._bn2"), shape);
                channels = outputs;
                block += 1;
            }
        }
        weights
    }

    fn bytes(&self) -> Vec<u8> {
        let tensors: Vec<_> = self.0.iter().map(|(name, t)| (name.as_str(), t)).collect();
        checkpoint(&tensors)
    }

    /// A convolution of a C x H x W map with "SAME" padding, then its batch norm.
    fn convolve(&self, x: &Map, conv: &str, norm: &str, stride: usize) -> Map {
        let weight = &self.0[&format!("{conv}.weight")];
        let norm = |name: &str, channel: usize| self.0[&format!("{norm}.{name}")].data[channel];
        let [outputs, group, rows, columns] = weight.shape[..] else {
            panic!("no kernel")
        };
        let [height, width] = [x.height.div_ceil(stride), x.width.div_ceil(stride)];
        let before = |side: usize, given: usize, taps: usize| {
            ((side as i64 - 1) * stride as i64 + taps as i64 - given as i64).max(0) / 2
        };
        let (top, left) = (
            before(height, x.height, rows),
            before(width, x.width, columns),
        );
        let mut values = Vec::new();
        for channel in 0..outputs {
            let first = if group == 1 && x.channels > 1 {
                channel
            } else {
                0
            };
            for (row, column) in (0..height).flat_map(|r| (0..width).map(move |c| (r, c))) {
                let mut sum = 0.0;
                for (input, r, c) in (0..group)
                    .flat_map(|i| (0..rows).flat_map(move |r| (0..columns).map(move |c| (i, r, c))))
                {
                    let y = (row * stride + r) as i64 - top;
                    let z = (column * stride + c) as i64 - left;
                    if y >= 0 && z >= 0 && y < x.height as i64 && z < x.width as i64 {
                        let at = ((first + input) * x.height + y as usize) * x.width + z as usize;
                        let tap = ((channel * group + input) * rows + r) * columns + c;
                        sum += f64::from(x.values[at]) * f64::from(weight.data[tap]);
                    }
                }
                let root = (norm("running_var", channel) + 1e-3).sqrt();
                let centred = (sum as f32 - norm("running_mean", channel)) / root;
                values.push(centred * norm("weight", channel) + norm("bias", channel));
            }
        }
        Map {
            channels: outputs,
            height,
            width,
            values,
        }
    }
}

#[derive(Clone)]
struct Map {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Map {
    fn relu6(mut self) -> Self {
        self.values
            .iter_mut()
            .for_each(|value| *value = value.clamp(0.0, 6.0));
        self
    }
}

fn direct(weights: &Weights, image: &Map) -> Vec<Map> {
    let mut x = image.clone();
    x.values
        .iter_mut()
        .for_each(|v| *v = (255.0 * *v - 127.0) / 128.0);
    x = weights.convolve(&x, "_conv_stem", "_bn0", 2).relu6();
    let (mut block, mut taps) = (0, Vec::new());
    for (stage, [blocks, stride, _, expansion, _]) in STAGES.into_iter().enumerate() {
        for repeat in 0..blocks {
            let at = format!("_blocks.{block}");
            let entered = x.clone();
            if expansion > 1 {
                x = weights.convolve(&x, &format!("{at}._expand_conv"), &format!("{at}._bn0"), 1);
                x = x.relu6();
            }
            let stride = if repeat == 0 { stride } else { 1 };
            let conv = format!("{at}._depthwise_conv");
            x = weights
                .convolve(&x, &conv, &format!("{at}._bn1"), stride)
                .relu6();
            x = weights.convolve(&x, &format!("{at}._project_conv"), &format!("{at}._bn2"), 1);
            if repeat > 0 {
                x.values
                    .iter_mut()
                    .zip(&entered.values)
                    .for_each(|(a, b)| *a += b);
            }
            block += 1;
        }
        if [1, 2, 4, 6].contains(&stage) {
            taps.push(x.clone());
        }
    }
    taps
}

#[test]
fn the_graph_computes_every_layer() {
    let runtime = Runtime::load(None).unwrap();
    let weights = Weights::random();
    let bytes = weights.bytes();
    let read = read_checkpoint(&bytes).unwrap();
    // Odd sides, too, whose padding is another one.
    for (height, width) in [(32, 16), (21, 17)] {
        let graph = efficientnet_lite0(&read, height, width).unwrap();
        let values = noise(3 * height * width, 5)
            .iter()
            .map(|v| v.abs().min(1.0))
            .collect();
        let image = Map {
            channels: 3,
            height,
            width,
            values,
        };
        let input = Tensor::new([1, 3, height, width], image.values.clone());
        let maps = evaluate(&runtime, &graph, &[input]).unwrap();
        let expected = direct(&weights, &image);
        assert_eq!(maps.len(), expected.len());
        for (map, expected) in maps.iter().zip(&expected) {
            let shape = [1, expected.channels, expected.height, expected.width];
            assert_eq!(map.shape, shape);
            let largest = expected.values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (a, b) in map.data.iter().zip(&expected.values) {
                assert!((a - b).abs() < 1e-4 * largest, "{shape:?}: {a} for {b}");
            }
        }
    }
}

#[test]
fn another_networks_checkpoint_is_refused() {
    let mut weights = Weights::random();
    let name = "_blocks.3._depthwise_conv.weight";
    weights
        .0
        .insert(name.to_owned(), Tensor::new([1], vec![0.0]));
    let refusal = |weights: &Weights| {
        let bytes = weights.bytes();
        efficientnet_lite0(&read_checkpoint(&bytes).unwrap(), 8, 8).unwrap_err()
    };
    assert!(matches!(refusal(&weights), ModelError::Weights { layer, .. } if layer == name));
    weights.0.remove(name);
    assert!(refusal(&weights).to_string().contains("no such tensor"));
    let variance = vec![-1.0; 32];
    let mut weights = Weights::random();
    weights
        .0
        .insert("_bn0.running_var".to_owned(), Tensor::new([32], variance));
    assert!(refusal(&weights).to_string().contains("finite"));
}
