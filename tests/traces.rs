//! Spans that reach a collector, and whose say it is which do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Server, bundle, client, encoded, eventually, pixels, png};
use lfbm_bundle::Bundle;
use lfbm_wire::inference::ServerLiveRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::{ListModelsRequest, ScoreRequest};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// An OpenTelemetry collector that hands on what it gets.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A server that sends its spans here.
struct Traced {
    server: Server,
    exports: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
}

impl Traced {
    fn start(bundle: &Bundle, scratch: &Path, flags: &[&str]) -> Self {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let endpoint = format!("http://{}", incoming.local_addr().unwrap());
        let (sender, exports) = mpsc::unbounded_channel();
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(Collector(sender)))
                .serve_with_incoming(incoming),
        );
        // Spans do not depend on what is logged.
        let flags = [&["--otlp-endpoint", &endpoint, "--log", "error"], flags].concat();
        let server = Server::start(bundle.dir(), scratch, &flags);
        Self { server, exports }
    }

    /// Every span. They are there although the server stops before a batch is due: the last are
    /// flushed.
    async fn spans(mut self) -> Vec<Span> {
        let stop = Command::new("kill")
            .arg(self.server.process.id().to_string())
            .status();
        assert!(stop.unwrap().success());
        eventually("the server ends", || {
            self.server.process.try_wait().unwrap().is_some()
        })
        .await;
        let mut spans = Vec::new();
        while let Ok(export) = self.exports.try_recv() {
            for of_resource in export.resource_spans {
                let resource = of_resource.resource.unwrap().attributes;
                assert_eq!(attribute(&resource, "service.name"), Some("lfbm-server"));
                let version = attribute(&resource, "service.version");
                assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
                let scopes = of_resource.scope_spans.into_iter();
                spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        }
        spans
    }
}

/// A request in the trace of its caller, who has sampled it, or has not.
fn within<T>(message: T, trace: &str, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let caller = format!("00-{trace}-{}-{flags}", "cd".repeat(8));
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", caller.parse().unwrap());
    metadata.insert("tracestate", "vendor=anything".parse().unwrap());
    request
}

fn image(bundle: &Bundle) -> ScoreRequest {
    encoded(png(pixels(&bundle.manifest().image, 0)))
}

fn requests(spans: &[Span]) -> Vec<&Span> {
    let requests = spans.iter().filter(|span| span.name == "request");
    requests.collect()
}

#[tokio::test]
async fn the_spans_of_a_request_reach_the_collector() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let traced = Traced::start(&bundle, folder.path(), &[]);
    let mut client = client(&traced.server).await;
    // What the caller thinks of sampling is the caller's.
    for flags in ["01", "00"] {
        let request = within(image(&bundle), &"ab".repeat(16), flags);
        client.score(request).await.unwrap();
    }
    drop(client);
    let spans = traced.spans().await;
    assert!(
        spans.iter().any(|span| span.name == "load_model"),
        "{spans:?}"
    );
    // The request is in its caller's trace, and its parts are in it.
    for name in ["request", "decode", "queue", "compute", "reply"] {
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 2, "{name}: {spans:?}");
        for span in found {
            assert_eq!(span.trace_id, [0xab; 16], "{name}");
            assert_eq!(span.trace_state, "", "{name}");
        }
    }
    for request in requests(&spans) {
        assert_eq!(request.parent_span_id, [0xcd; 8]);
    }
}

#[tokio::test]
async fn a_caller_has_no_say_in_how_many_are_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    // Trace ids that a share of them would choose, and would not: the smallest and the largest.
    let low = format!("{:032x}", 1);
    let high = "f".repeat(32);
    for (ratio, possible) in [("0", 0..=0), ("0.5", 1..=127)] {
        let traced = Traced::start(&bundle, folder.path(), &["--trace-sampling-ratio", ratio]);
        let mut client = client(&traced.server).await;
        for trace in [&low, &high] {
            for _ in 0..128 {
                let request = within(ListModelsRequest {}, trace, "01");
                client.list_models(request).await.unwrap();
            }
        }
        drop(client);
        let spans = traced.spans().await;
        for trace in [low.as_str(), &high] {
            let id = u128::from_str_radix(trace, 16).unwrap().to_be_bytes();
            let requests = requests(&spans).into_iter();
            let sampled = requests.filter(|span| span.trace_id == id).count();
            assert!(possible.contains(&sampled), "{ratio}, {trace}: {sampled}");
        }
    }
}

#[tokio::test]
async fn who_has_no_token_has_no_say_in_traces() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "alpha\n").unwrap();
    let flags = ["--auth-tokens-file", tokens.to_str().unwrap()];
    let traced = Traced::start(&bundle, folder.path(), &flags);
    let mut client = client(&traced.server).await;
    let mut probes = GrpcInferenceServiceClient::connect(traced.server.url.clone())
        .await
        .unwrap();
    let stranger = "ab".repeat(16);
    let request = within(ListModelsRequest {}, &stranger, "01");
    client.list_models(request).await.unwrap_err();
    // It is answered without a token, and still has no say.
    let probe = within(ServerLiveRequest {}, &stranger, "01");
    probes.server_live(probe).await.unwrap();
    let mut request = within(ListModelsRequest {}, &"ef".repeat(16), "01");
    let token = "Bearer alpha".parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    client.list_models(request).await.unwrap();
    drop((client, probes));
    let spans = traced.spans().await;
    let requests = requests(&spans);
    assert_eq!(requests.len(), 3, "{spans:?}");
    let traces = |id| {
        requests
            .iter()
            .filter(|span| span.trace_id == [id; 16])
            .count()
    };
    assert_eq!((traces(0xab), traces(0xef)), (0, 1), "{requests:?}");
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut command = common::command(bundle.dir());
    let output = command
        .args(["--otlp-endpoint", "nowhere at all"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("otlp_endpoint"), "{errors}");
}
