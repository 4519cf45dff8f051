//! The gRPC services, and what every request passes before it meets one.

use std::sync::Arc;

use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer;
use tower::util::{Either, option_layer};
use tower_http::cors::Cors;

use lfbm_wire::DESCRIPTORS;
use lfbm_wire::anomaly_detector_server::AnomalyDetectorServer;
use lfbm_wire::inference::grpc_inference_service_server::GrpcInferenceServiceServer;

use crate::http;
use crate::request::RequestSettings;
use crate::service::{
    Access, AnomalyDetectorService, Core, MessageLimits, OpenInferenceService, RequestLayer,
    Requests,
};

/// The services behind their layer, to whom `access` admits.
///
/// # Errors
/// When descriptors cannot be decoded.
pub(super) fn services<H: Health>(
    core: Arc<Core>,
    health: HealthServer<H>,
    settings: &RequestSettings,
    access: Access,
) -> anyhow::Result<Requests<Routes>> {
    let max_message_bytes = settings.max_message_bytes;
    // Every generated server has these methods, and no trait names them. The layer
    // decompresses what they get.
    macro_rules! limited {
        ($server:expr) => {
            $server
                .max_decoding_message_size(max_message_bytes)
                .send_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Deflate)
                .send_compressed(CompressionEncoding::Zstd)
        };
    }
    let layer = RequestLayer::new(
        core.metrics.clone(),
        access,
        MessageLimits {
            memory: core.memory.clone(),
            max_bytes: max_message_bytes,
            timeout: settings.message_timeout(),
        },
        &[
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ],
    )?;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let open_inference = OpenInferenceService {
        core: Arc::clone(&core),
        max_message_bytes,
    };
    let routes = Routes::new(limited!(health))
        .add_service(limited!(reflection().build_v1()?))
        // For older clients.
        .add_service(limited!(reflection().build_v1alpha()?))
        .add_service(limited!(GrpcInferenceServiceServer::new(open_inference)))
        .add_service(limited!(AnomalyDetectorServer::new(
            AnomalyDetectorService(core)
        )));
    Ok(layer.layer(routes.prepare()))
}

/// Services for pages in browsers.
type Web<S> = Either<Cors<GrpcWebService<S>>, GrpcWebService<S>>;

/// The services, also by gRPC-web, to pages of these other origins. What a page sends is a request of gRPC to
/// the services' layer, with its limits and tokens.
pub(super) fn with_web<S: Clone>(services: S, origins: &[String]) -> Web<S> {
    let cors = (!origins.is_empty()).then(|| http::grpc_web_layer(origins));
    option_layer(cors).layer(GrpcWebLayer::new().layer(services))
}
