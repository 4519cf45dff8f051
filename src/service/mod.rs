//! The server's protocols: adapters around one core.

mod anomaly_detector;
mod audited;
mod call;
mod core;
mod error;
pub(crate) mod explain;
mod health;
mod held;
mod incoming;
mod inpaint;
mod layer;
mod located;
pub(crate) mod messages;
mod nearest;
pub(crate) mod open_inference;
mod overlay;
mod render;
pub(crate) mod sample;
pub(crate) mod score;
mod score_stream;
mod scoring;

pub use self::core::Core;
pub(crate) use self::core::{compute, counted};
pub use anomaly_detector::AnomalyDetectorService;
pub(crate) use call::{Call, Caller};
pub use error::ServiceError;
pub(crate) use error::{Cause, Report};
pub use health::Health;
pub use incoming::MessageLimits;
pub(crate) use layer::{Observation, REQUEST_ID, request_id};
pub use layer::{ObservedBody, RequestLayer, Requests};
pub use open_inference::OpenInferenceService;
