//! `lfbm-server`: scores images under latent-space flow-based models.
//!
//! The modules stand in the order in which a request passes them:
//! [`wire`] decodes it, [`models`] finds the model, [`admission`] bounds what waits, [`scheduler`]
//! takes the Langevin steps, or [`sampling`] draws, [`score`] makes the answer, and [`service`] is the gRPC face of it
//! all. Around them: [`config`], [`telemetry`], [`transport`] with connections, TLS and tokens,
//! [`memory`], [`http`], [`shutdown`], and [`server`], which puts the parts together.

pub mod admission;
pub mod config;
pub mod http;
pub mod memory;
pub mod models;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod telemetry;
pub mod transport;
pub mod wire;

/// What `proto/` generates.
#[allow(missing_docs, clippy::doc_markdown)]
pub mod proto {
    tonic::include_proto!("lfbm.v1");

    /// The Open Inference Protocol.
    pub mod inference {
        tonic::include_proto!("inference");
    }

    /// The descriptors, for server reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
