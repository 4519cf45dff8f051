//! The server's protocols: adapters around one core.

mod anomaly_detector;
mod call;
mod core;
mod error;
mod explain;
mod health;
mod held;
mod incoming;
mod inpaint;
mod layer;
mod messages;
mod open_inference;
mod render;
mod sample;
mod score;
mod score_stream;
mod scoring;

pub use self::core::Core;
pub use anomaly_detector::AnomalyDetectorService;
pub use error::ServiceError;
pub use health::Health;
pub use incoming::MessageLimits;
pub use layer::{ObservedBody, RequestLayer, Requests};
pub use open_inference::OpenInferenceService;
