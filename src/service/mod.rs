//! The gRPC face of the server.

mod anomaly_detector;
mod error;
mod messages;

pub use anomaly_detector::AnomalyDetectorService;
pub use error::ServiceError;
