//! The encoder q(z|x): from an image and noise to a sample of the latent (Kingma et al. 2016,
//! <https://arxiv.org/abs/1606.04934>).
//!
//! ```text
//! (mean, log_variance, context) = head(features(x))
//! z = mean + exp(log_variance / 2) * noise
//! each inverse autoregressive flow step:
//!     (m, s) = network(z, context);  gate = sigmoid(s)
//!     z = gate * z + (1 - gate) * m
//! ```

use lfbm_onnx::{ConvGeometry, Dim, Graph, Tensor, Value};

use crate::error::ModelError;
use crate::generator::{GeneratorName, GeneratorSpec, LEAKY_SLOPE, Layer};
use crate::weights::{LayerWeights, expect_shape};

/// Kernel, stride and padding of the convolutions of 32 x 32 images, which are those of the paper (Table 8, SVHN
/// and CIFAR-10). The last convolution of that table, 4 x 4 on 4 x 4 positions, is the head.
const TABLE_8: [[usize; 3]; 4] = [[3, 1, 1], [4, 2, 1], [4, 2, 1], [4, 2, 1]];

/// An encoder's architecture and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSpec {
    /// The generator of the images that it reads.
    pub generator: GeneratorSpec,
    /// Channels of its first convolution; the encoder of a fully connected generator has none.
    pub width: usize,
    /// Size of the context, what flow steps see of the image; 0 where there are none.
    pub context: usize,
    /// Inverse autoregressive flow steps.
    pub iaf_steps: usize,
    /// Hidden units in each layer of their networks.
    pub iaf_hidden: usize,
}

/// One layer of the features. A leaky ReLU stands after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderLayer {
    /// `x @ weight^T + bias`, x flattened.
    Linear {
        /// Columns of the weight.
        inputs: usize,
        /// Rows of the weight.
        outputs: usize,
    },
    /// Two-dimensional convolution with a square kernel.
    Conv {
        /// Channels read.
        in_channels: usize,
        /// Channels written.
        out_channels: usize,
        /// Along both axes. Pads before and after are equal.
        geometry: ConvGeometry,
    },
}

impl EncoderLayer {
    /// Shape of the weight in torch's layout.
    pub fn weight_shape(&self) -> Vec<usize> {
        match *self {
            Self::Linear { inputs, outputs } => vec![outputs, inputs],
            Self::Conv {
                in_channels,
                out_channels,
                geometry: ConvGeometry { kernel, .. },
            } => vec![out_channels, in_channels, kernel, kernel],
        }
    }
}

impl EncoderSpec {
    /// Layers of the features, first to last. For `svhn` and `cifar10` they are those of the paper's Table 8: a
    /// 3 x 3 convolution of stride 1, and three of 4 x 4 and stride 2. For other generators they are those of the
    /// generator backwards, a convolution for a transposed one.
    ///
    /// The channels are 1, 2, 4 and 8 times the width. Large images (more than four layers) have 4
    /// times in the place of 8, and the head in the place of the last layer.
    ///
    /// # Errors
    /// When the generator makes no images of its size, or a size is zero.
    pub fn features(&self) -> Result<Vec<EncoderLayer>, ModelError> {
        let layers = self.generator.layers()?;
        let convolutional = matches!(layers.first(), Some(Layer::ConvTranspose { .. }));
        let steps_see = self.iaf_steps == 0 || ![self.context, self.iaf_hidden].contains(&0);
        if !steps_see || (convolutional && self.width == 0) {
            let reason = format!("a size of the encoder is zero: {self:?}");
            return Err(ModelError::Spec(reason));
        }
        let large = layers.len() > 4;
        let replaced = usize::from(large || !convolutional);
        let mirrored = layers.iter().skip(replaced).rev();
        let features = match self.generator.name {
            GeneratorName::Svhn | GeneratorName::Cifar10 => {
                let table = TABLE_8.iter();
                self.convolutions(table.map(|&[k, s, p]| ConvGeometry::new(k, s, p)), 8)
            }
            _ if convolutional => {
                let geometries = mirrored.filter_map(|layer| match *layer {
                    Layer::ConvTranspose { geometry, .. } => Some(geometry),
                    Layer::Linear { .. } => None,
                });
                self.convolutions(geometries, if large { 4 } else { 8 })
            }
            _ => mirrored
                .filter_map(|layer| match *layer {
                    Layer::Linear { inputs, outputs } => Some(EncoderLayer::Linear {
                        inputs: outputs,
                        outputs: inputs,
                    }),
                    Layer::ConvTranspose { .. } => None,
                })
                .collect(),
        };
        Ok(features)
    }

    /// Convolutions whose channels double from the width on, up to `most` times it.
    fn convolutions(
        &self,
        geometries: impl Iterator<Item = ConvGeometry>,
        most: usize,
    ) -> Vec<EncoderLayer> {
        let mut in_channels = self.generator.channels;
        let layers = geometries.enumerate().map(|(index, geometry)| {
            let out_channels = self.width * most.min(1 << index);
            let layer = EncoderLayer::Conv {
                in_channels,
                out_channels,
                geometry,
            };
            in_channels = out_channels;
            layer
        });
        layers.collect()
    }

    /// Inputs of the head: what the last of the [features](Self::features) puts out, flattened; x, where there are
    /// none, as for the generator `linear`.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn head_inputs(&self) -> Result<usize, ModelError> {
        let GeneratorSpec {
            channels,
            height: mut side,
            width_px,
            ..
        } = self.generator;
        // Of x itself, which is all that a head without features sees.
        let mut outputs = channels * side * width_px;
        for layer in self.features()? {
            outputs = match layer {
                EncoderLayer::Linear { outputs, .. } => outputs,
                EncoderLayer::Conv {
                    out_channels,
                    geometry,
                    ..
                } => {
                    side = geometry.output(side).ok_or_else(|| {
                        ModelError::Spec(format!("{side} pixels are too few for {geometry:?}"))
                    })?;
                    out_channels * side * side
                }
            };
        }
        Ok(outputs)
    }

    /// Outputs of the head: mean, log-variance and context.
    pub fn head_outputs(&self) -> usize {
        2 * self.generator.latent_dim + self.context
    }
}

/// Weights of one inverse autoregressive flow step, their masks applied.
#[derive(Clone, Debug, PartialEq)]
pub struct IafStepWeights {
    /// How the first hidden layer reads the context, `[hidden, context]`.
    pub context: Tensor,
    /// `d -> hidden -> hidden -> 2 d` with ReLUs between; the first d outputs are m, the others s.
    pub layers: [LayerWeights; 3],
}

/// Weights of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderWeights {
    /// Those of the features.
    pub features: Vec<LayerWeights>,
    /// Mean, log-variance and context.
    pub head: LayerWeights,
    /// Steps in their order.
    pub iaf: Vec<IafStepWeights>,
}

/// Builds `encoder.onnx`: `x: [B,C,H,W]` and `noise: [B,d]`, standard normal, to `z: [B,d]`.
///
/// # Errors
/// When weights do not fit the architecture.
pub fn encoder_graph(spec: &EncoderSpec, weights: &EncoderWeights) -> Result<Graph, ModelError> {
    let GeneratorSpec {
        latent_dim: d,
        channels,
        height,
        width_px,
        ..
    } = spec.generator;
    let features = spec.features()?;
    let expected = [features.len(), spec.iaf_steps];
    let got = [weights.features.len(), weights.iaf.len()];
    if expected != got {
        let layers = |[features, steps]: [usize; 2]| format!("{features} layers, {steps} steps");
        return Err(ModelError::Weights {
            layer: "the encoder".to_owned(),
            expected: layers(expected),
            got: layers(got),
        });
    }
    let mut graph = Graph::new("encoder");
    let image = [channels, height, width_px].map(Dim::Fixed);
    let x = graph.input("x", &[Dim::Batch, image[0], image[1], image[2]]);
    let noise = graph.input("noise", &[Dim::Batch, Dim::Fixed(d)]);
    let mut h = x;
    for (index, (layer, weights)) in features.iter().zip(&weights.features).enumerate() {
        let name = format!("encoder.{index}");
        h = match *layer {
            EncoderLayer::Linear { inputs, outputs } => {
                let flat = graph.reshape(&h, &[-1, inputs as i64])?;
                linear(&mut graph, &flat, weights, &name, [outputs, inputs])?
            }
            EncoderLayer::Conv { geometry, .. } => {
                let [weight, bias] = checked(&mut graph, weights, &name, &layer.weight_shape())?;
                graph.conv(&h, &weight, Some(&bias), geometry)?
            }
        };
        h = graph.leaky_relu(&h, LEAKY_SLOPE)?;
    }
    let inputs = spec.head_inputs()?;
    let flat = graph.reshape(&h, &[-1, inputs as i64])?;
    let sizes = [spec.head_outputs(), inputs];
    let head = linear(&mut graph, &flat, &weights.head, "encoder.head", sizes)?;
    let sizes = [d, d, spec.context];
    let parts = graph.split(&head, 1, &sizes[..if spec.context > 0 { 3 } else { 2 }])?;
    let log_deviation = graph.scale(&parts[1], 0.5)?;
    let deviation = graph.exp(&log_deviation)?;
    let spread = graph.mul(&deviation, &noise)?;
    let mut z = graph.add(&parts[0], &spread)?;
    for (index, step) in weights.iaf.iter().enumerate() {
        let context = parts.last().unwrap_or(&head);
        z = iaf_step(&mut graph, spec, index, step, &z, context)?;
    }
    graph.output("z", &z)?;
    graph.simplify();
    Ok(graph)
}

fn iaf_step(
    graph: &mut Graph,
    spec: &EncoderSpec,
    index: usize,
    step: &IafStepWeights,
    z: &Value,
    context: &Value,
) -> Result<Value, ModelError> {
    let (d, hidden) = (spec.generator.latent_dim, spec.iaf_hidden);
    let name = |part: &str| format!("encoder.iaf.{index}.{part}");
    let [first, second, last] = &step.layers;
    expect_shape(&name("context"), &step.context, &[hidden, spec.context])?;
    let reads = graph.weights(&name("context"), step.context.clone());
    let [weight, bias] = checked(graph, first, &name("0"), &[hidden, d])?;
    let seen = graph.linear(context, &reads, &bias)?;
    let h = graph.linear(z, &weight, &seen)?;
    let h = graph.relu(&h)?;
    let h = linear(graph, &h, second, &name("1"), [hidden, hidden])?;
    let h = graph.relu(&h)?;
    let out = linear(graph, &h, last, &name("2"), [2 * d, hidden])?;
    let parts = graph.split(&out, 1, &[d, d])?;
    // gate * z + (1 - gate) * m
    let gate = graph.sigmoid(&parts[1])?;
    let distance = graph.sub(z, &parts[0])?;
    let kept = graph.mul(&gate, &distance)?;
    Ok(graph.add(&parts[0], &kept)?)
}

fn linear(
    graph: &mut Graph,
    x: &Value,
    weights: &LayerWeights,
    name: &str,
    shape: [usize; 2],
) -> Result<Value, ModelError> {
    let [weight, bias] = checked(graph, weights, name, &shape)?;
    Ok(graph.linear(x, &weight, &bias)?)
}

/// Weight and bias of a layer, once their shapes are known to fit.
fn checked(
    graph: &mut Graph,
    weights: &LayerWeights,
    name: &str,
    shape: &[usize],
) -> Result<[Value; 2], ModelError> {
    expect_shape(name, &weights.weight, shape)?;
    expect_shape(name, &weights.bias, &shape[..1])?;
    let weight = graph.weights(&format!("{name}.weight"), weights.weight.clone());
    let bias = graph.weights(&format!("{name}.bias"), weights.bias.clone());
    Ok([weight, bias])
}
