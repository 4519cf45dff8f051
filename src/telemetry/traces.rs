//! Spans to an OpenTelemetry collector.

use std::time::Duration;

use anyhow::Context;
use hyper::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context as Trace, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample};
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

const SERVICE: &str = "lfbm-server";
/// How long the last spans may take when the server stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Samples this share of what begins in the server, whatever a caller's flags and trace id say, and
/// all that belongs to it.
#[derive(Clone, Debug)]
struct OwnRatio(f64);

impl ShouldSample for OwnRatio {
    fn should_sample(
        &self,
        parent: Option<&Trace>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone());
        let sampled = match parent.filter(|parent| parent.is_valid() && !parent.is_remote()) {
            Some(own) => own.is_sampled(),
            None => rand::random::<f64>() < self.0,
        };
        SamplingResult {
            decision: if sampled {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            // A caller's is text of any content, and nothing here reads it.
            trace_state: TraceState::NONE,
        }
    }
}

/// Sends spans in the background.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends a share of `sampling_ratio` of the requests to the collector that listens for OTLP over
    /// gRPC at `endpoint`, such as `http://localhost:4317`. Must be called within a runtime of
    /// tokio.
    pub(super) fn start(endpoint: &str, sampling_ratio: f64) -> anyhow::Result<Self> {
        let expected = || format!("otlp_endpoint is {endpoint:?}, expected http://HOST:PORT");
        anyhow::ensure!(endpoint.starts_with("http://"), expected());
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .with_context(expected)?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(version);
        Ok(Self(
            SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_sampler(OwnRatio(sampling_ratio))
                .with_resource(resource.build())
                .build(),
        ))
    }

    /// Records this server's spans, whatever is logged, and not those of the libraries that send
    /// them. A request's stages are spans of level DEBUG, so that they cost nothing where there is
    /// no collector.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_filter(Targets::new().with_target("lfbm_server", LevelFilter::DEBUG))
    }
}

impl Drop for Traces {
    /// Sends what is left; the runtime of tokio must still be there.
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Puts a request's span, which must not have been entered, into its caller's trace, if the headers
/// name one (W3C Trace Context). Whether it is sampled is not the caller's to say.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let caller = TraceContextPropagator::new().extract(&Headers(headers));
        // Without a collector there is no trace to be part of.
        let _ = span.set_parent(caller);
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
