//! The network while it learns: convolutions with batch norms, and the head whose outputs are compared.

use lfbm_model::{CONTRASTIVE_NETWORK, LayerWeights};
use tch::nn::{self, Init, Module, ModuleT};
use tch::{Kind, Reduction, Tensor};

use crate::model::host;

/// Values of the head's hidden layer, and of its output.
const HEAD: [i64; 2] = [256, 64];
/// Stands for an image's similarity with itself: it is no candidate.
const NEVER: f64 = -1e9;
/// `cross_entropy_loss`'s default: no label is ignored.
const NO_LABEL: i64 = -100;

/// A convolution `[out, in, k, k]` without a bias, and the norm after it.
struct Layer {
    convolution: nn::Conv2D,
    norm: nn::BatchNorm,
}

/// The network, with random weights at first.
pub(super) struct ContrastiveNetwork {
    layers: Vec<Layer>,
    hidden: nn::Linear,
    norm: nn::BatchNorm,
    out: nn::Linear,
    /// What convolutions are computed in.
    kind: Kind,
}

impl ContrastiveNetwork {
    /// For images of C, H, W; convolutions are computed in `kind`.
    pub(super) fn new(
        root: &nn::Path<'_>,
        [channels, height, width]: [i64; 3],
        kind: Kind,
    ) -> Self {
        let norm = nn::BatchNormConfig {
            ws_init: Init::Const(1.0),
            ..nn::BatchNormConfig::default()
        };
        let (mut inputs, mut sides) = (channels, [height, width]);
        let mut layers = Vec::with_capacity(CONTRASTIVE_NETWORK.len());
        for (number, spec) in CONTRASTIVE_NETWORK.iter().enumerate() {
            let root = root / number;
            let (outputs, stride) = (spec.channels as i64, spec.stride as i64);
            let config = nn::ConvConfig {
                stride,
                padding: spec.padding() as i64,
                bias: false,
                ..nn::ConvConfig::default()
            };
            let kernel = spec.kernel as i64;
            layers.push(Layer {
                convolution: nn::conv2d(&root / "conv", inputs, outputs, kernel, config),
                norm: nn::batch_norm2d(&root / "norm", outputs, norm),
            });
            sides = sides.map(|side| (side - 1) / stride + 1);
            inputs = outputs;
        }
        let features = inputs * sides[0] * sides[1];
        let linear = nn::LinearConfig::default();
        Self {
            layers,
            hidden: nn::linear(root / "hidden", features, HEAD[0], linear),
            norm: nn::batch_norm1d(root / "head_norm", HEAD[0], norm),
            out: nn::linear(root / "out", HEAD[0], HEAD[1], linear),
            kind,
        }
    }

    /// The mean over all 2n views of the cross-entropy of finding an image's other view among the views
    /// of all images, by the cosine of their outputs over `temperature` (NT-Xent, Chen et al., 2020,
    /// equation 1). `first` and `second` are views `[n,C,H,W]` of the same images.
    pub(super) fn loss(&self, first: &Tensor, second: &Tensor, temperature: f64) -> Tensor {
        let count = first.size()[0];
        let output = self.output(&Tensor::cat(&[first, second], 0));
        let length = output.square().sum_dim_intlist(-1, true, Kind::Float);
        let unit = output / (length + f64::from(f32::EPSILON)).sqrt();
        let itself = Tensor::eye(2 * count, (Kind::Float, unit.device())) * NEVER;
        let similarities = unit.matmul(&unit.transpose(0, 1)) / temperature + itself;
        let others = Tensor::arange(2 * count, (Kind::Int64, unit.device())).roll([count], [0]);
        let no_weights: Option<Tensor> = None;
        similarities.cross_entropy_loss(&others, no_weights, Reduction::Mean, NO_LABEL, 0.0)
    }

    /// All values `[n, values]` of the last convolution; norms are of the batch while learning (`train`).
    pub(super) fn features(&self, images: &Tensor, train: bool) -> Tensor {
        let mut x = images.to_kind(self.kind);
        for (layer, spec) in self.layers.iter().zip(&CONTRASTIVE_NETWORK) {
            let (stride, padding) = (spec.stride as i64, spec.padding() as i64);
            let weight = layer.convolution.ws.to_kind(self.kind);
            let no_bias: Option<Tensor> = None;
            let filtered = x.conv2d(&weight, no_bias, [stride; 2], [padding; 2], [1; 2], 1);
            x = layer.norm.forward_t(&filtered, train).relu();
        }
        x.flatten(1, -1).to_kind(Kind::Float)
    }

    fn output(&self, images: &Tensor) -> Tensor {
        let hidden = self.hidden.forward(&self.features(images, true));
        self.out.forward(&self.norm.forward_t(&hidden, true).relu())
    }

    /// The convolutions' weights, each with the norm after it, which has the running mean m and variance v:
    /// w g / sqrt(v + eps), and b - m g / sqrt(v + eps).
    pub(super) fn folded(&self) -> Vec<LayerWeights> {
        let _guard = tch::no_grad_guard();
        let eps = nn::BatchNormConfig::default().eps;
        let folded = |Layer { convolution, norm }: &Layer| {
            let gain = (&norm.running_var + eps).rsqrt();
            let gain = norm.ws.iter().fold(gain, |gain, ws| gain * ws);
            let shift = -&norm.running_mean * &gain;
            let bias = norm.bs.iter().fold(shift, |shift, bs| shift + bs);
            LayerWeights {
                weight: host::to_host(&(&convolution.ws * gain.view([-1, 1, 1, 1]))),
                bias: host::to_host(&bias),
            }
        };
        self.layers.iter().map(folded).collect()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;

    /// An image whose two views are equal and unlike those of all others is found, so the loss is near 0; it
    /// is that of a guess among 2n - 1 views where all are alike.
    #[test]
    fn the_loss_is_that_of_finding_the_other_view() {
        tch::manual_seed(5);
        let store = nn::VarStore::new(Device::Cpu);
        let network = ContrastiveNetwork::new(&store.root(), [1, 16, 16], Kind::Float);
        let images = Tensor::rand([16, 1, 16, 16], (Kind::Float, Device::Cpu));
        let loss = |x: &Tensor, temperature| network.loss(x, x, temperature).double_value(&[]);
        assert!(loss(&images, 1e-3) < 1e-2);
        let alike = loss(&images.ones_like(), 0.2);
        assert!((alike - 31_f64.ln()).abs() < 1e-3, "{alike}");
    }
}
