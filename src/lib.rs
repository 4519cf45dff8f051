//! `lfbm-server`: scores images under latent-space flow-based models.
//!
//! The modules stand in the order in which a request passes them:
//! [`wire`] makes a draft of its message, [`request`] validates it, [`models`] finds the model,
//! [`admission`] bounds what waits, [`scheduler`] takes the Langevin steps, or [`sampling`] draws,
//! [`score`] makes the answer, and [`service`] is the gRPC face of it all. Around them: [`config`],
//! [`telemetry`], [`audit`], [`shadow`] versions for comparison, [`transport`] with connections, TLS and tokens,
//! [`memory`], [`http`] with the console, [`shutdown`], [`phase`], and [`server`], which puts the parts together.

#![forbid(unsafe_code)]

pub mod admission;
pub mod audit;
mod background;
pub mod config;
mod console;
pub mod http;
pub mod memory;
pub mod models;
pub mod phase;
pub mod request;
pub mod rest;
pub mod sampling;
pub mod scheduler;
pub mod score;
pub mod server;
pub mod service;
pub mod shadow;
pub mod shutdown;
pub mod telemetry;
pub mod transport;
pub mod wire;
