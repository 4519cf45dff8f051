//! The generator g: latents to images.

use lfbm_model::{GeneratorName, GeneratorSpec, Layer, LayerWeights, ModelError};
use lfbm_onnx::ConvGeometry;
use tch::{Device, Kind, Tensor};

use super::operator::Operator;
use super::parameters::{Parameters, Role, convert};
use super::{FrozenGenerator, host, init};

/// Slope of the leaky ReLU between layers on its negative side.
pub(super) const NEGATIVE_SLOPE: f64 = 0.2;

/// A stack of linear or transposed-convolution layers, leaky ReLU between them. A tanh at the end of a
/// generator of images keeps them in (-1, 1).
#[derive(Debug)]
pub struct Generator {
    layers: Vec<GeneratorLayer>,
    /// `prelu` with one slope for all channels is the fastest leaky ReLU that tch offers.
    slope: Tensor,
    image: [i64; 3],
    /// Whether a tanh stands at the end.
    is_bounded: bool,
}

#[derive(Debug)]
struct GeneratorLayer {
    shape: Layer,
    /// The first layer of a convolutional generator sees one position.
    first: bool,
    weight: Tensor,
    bias: Tensor,
}

impl Generator {
    /// A generator of the architecture of `spec`, drawn from torch's generator of random numbers; `linear` begins as
    /// the identity.
    pub fn new(spec: &GeneratorSpec, device: Device) -> Result<Self, ModelError> {
        let layers = spec.layers()?.into_iter().enumerate();
        let mut layers: Vec<_> = layers
            .map(|(index, shape)| GeneratorLayer::new(shape, index == 0, device))
            .collect();
        if let (GeneratorName::Linear, [layer]) = (spec.name, layers.as_mut_slice()) {
            // So that g(z) begins as z: the largest of principal components.
            let [outputs, inputs] = [layer.weight.size()[0], layer.weight.size()[1]];
            layer.weight = Tensor::eye_m(outputs, inputs, (Kind::Float, device));
            layer.bias = layer.bias.zeros_like();
        }
        Ok(Self {
            layers,
            slope: negative_slope(Kind::Float, device),
            image: [
                spec.channels as i64,
                spec.height as i64,
                spec.width_px as i64,
            ],
            is_bounded: spec.name.is_bounded(),
        })
    }

    /// g(z): from (rows, latent) to (rows, C, H, W). Differentiable by autograd.
    pub fn forward(&self, z: &Tensor) -> Tensor {
        let mut x = z.shallow_clone();
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = x.prelu(&self.slope);
            }
            x = layer.operator().forward(&x);
        }
        let [channels, height, width] = self.image;
        let x = if self.is_bounded { x.tanh() } else { x };
        x.view([-1, channels, height, width])
    }

    /// The generator as it is now.
    pub fn freeze(&self) -> FrozenGenerator {
        let _guard = tch::no_grad_guard();
        let layers = self
            .layers
            .iter()
            .map(|layer| layer.operator().map(Tensor::detach))
            .collect();
        FrozenGenerator::new(
            layers,
            self.slope.shallow_clone(),
            self.image,
            self.is_bounded,
        )
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        convert(self, kind);
        self.slope = negative_slope(kind, self.slope.device());
    }

    /// The weights in the layout of the bundle, first layer first.
    pub fn weights(&self) -> Vec<LayerWeights> {
        let weights = |layer: &GeneratorLayer| LayerWeights {
            weight: host::to_host(&layer.weight),
            bias: host::to_host(&layer.bias),
        };
        self.layers.iter().map(weights).collect()
    }
}

pub(super) fn negative_slope(kind: Kind, device: Device) -> Tensor {
    Tensor::full([1], NEGATIVE_SLOPE, (kind, device))
}

impl Parameters for Generator {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            visitor(
                &format!("layers.{index}.weight"),
                Role::Learned,
                &mut layer.weight,
            );
            visitor(
                &format!("layers.{index}.bias"),
                Role::Learned,
                &mut layer.bias,
            );
        }
    }
}

impl GeneratorLayer {
    fn new(shape: Layer, first: bool, device: Device) -> Self {
        let (size, outputs, fan_in) = match shape {
            Layer::Linear { inputs, outputs } => {
                (vec![outputs as i64, inputs as i64], outputs, inputs)
            }
            Layer::ConvTranspose {
                in_channels,
                out_channels,
                geometry: ConvGeometry { kernel, .. },
            } => {
                let side = kernel as i64;
                let size = vec![in_channels as i64, out_channels as i64, side, side];
                // PyTorch counts the fan-in of a transposed convolution over its outputs.
                (size, out_channels, out_channels * kernel * kernel)
            }
        };
        let (weight, bias) = init::fan_in_uniform(&size, outputs as i64, fan_in as i64, device);
        Self {
            shape,
            first,
            weight,
            bias,
        }
    }

    fn operator(&self) -> Operator {
        let (weight, bias) = (self.weight.shallow_clone(), self.bias.shallow_clone());
        match self.shape {
            Layer::Linear { .. } => Operator::Linear { weight, bias },
            Layer::ConvTranspose {
                out_channels,
                geometry,
                ..
            } => {
                let [channels, kernel] = [out_channels as i64, geometry.kernel as i64];
                let padding = geometry.pads[0];
                if self.first && padding == 0 {
                    let bias = bias.view([1, -1, 1, 1]);
                    Operator::Project {
                        matrix: weight.flatten(1, -1),
                        bias,
                        channels,
                        kernel,
                    }
                } else if geometry.stride == 1 && padding < geometry.kernel {
                    let flipped = weight.flip([2, 3]).transpose(0, 1).contiguous();
                    Operator::Convolve {
                        weight,
                        flipped,
                        bias,
                        geometry,
                    }
                } else {
                    Operator::ConvTranspose {
                        weight,
                        bias,
                        geometry,
                    }
                }
            }
        }
    }
}
