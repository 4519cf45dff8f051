//! The gRPC face of the server.

mod anomaly_detector;
mod core;
mod error;
mod layer;
mod messages;
mod score;

pub use self::core::Core;
pub use anomaly_detector::AnomalyDetectorService;
pub use error::ServiceError;
pub use layer::{ObservedBody, RequestLayer, Requests};
