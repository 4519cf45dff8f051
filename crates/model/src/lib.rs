//! What a model computes: from the weights of a prior, a generator and an encoder to their ONNX graphs,
//! and to the graph of one Langevin step. The trainer builds its modules from the same [`Layer`]s.
#![forbid(unsafe_code)]

mod decoder;
mod encoder;
mod energy;
mod error;
mod flow;
mod forward;
mod generator;
mod image;
mod imported;
mod mixture;
mod network;
pub mod pixels;
mod posterior;
mod preprocess;
mod prior;
mod representation;
mod weights;

pub use decoder::{decoder_graph, decoder_spec};
pub use encoder::{EncoderLayer, EncoderSpec, EncoderWeights, IafStepWeights, encoder_graph};
pub use energy::EnergyWeights;
pub use error::ModelError;
pub use flow::{FlowStepWeights, FlowWeights};
pub use forward::{ForwardGraphs, forward_graphs};
pub use generator::{GeneratorName, GeneratorSpec, LEAKY_SLOPE, Layer};
pub use image::{Contrast, ImageSpec};
pub use imported::{ModelFiles, imported_graphs, imported_network};
pub use lfbm_images::Intake;
pub use mixture::MixtureWeights;
pub use network::{Checkpoint, CheckpointError, efficientnet_lite0, read_checkpoint};
pub use posterior::posterior_graph;
pub use preprocess::preprocess_graph;
pub use prior::{PriorKind, PriorWeights, density_graph, prior_gradient_graph};
pub use representation::{
    CONTRASTIVE_NETWORK, ConvolutionSpec, FeatureGrid, NetworkFeatures, NetworkRecord,
    Normalization, Orientations, Representation, RepresentationKind, RepresentationSpec, Residual,
    Whitening, append_whitening, features_graph, joined_graph, whole_image_blocks,
};
pub use weights::LayerWeights;
