//! Traces by OTLP over gRPC: one span a call, under the caller's own where it sent one (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>). Attributes are those of OpenTelemetry for RPC; what people wrote is in
//! none. Depends on nothing else in the crate.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::Empty;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Target of spans that are for traces and not for the log.
const TARGET: &str = "trace::klankbord";
/// Codes that are the server's fault, by the conventions.
const FAULTS: [&str; 6] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// Sends spans, in batches, from a thread of its own.
#[derive(Clone)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// To a collector at `endpoint`, such as `http://localhost:4317`. Wants a tokio runtime around it.
    ///
    /// # Errors
    /// Where the endpoint is none.
    pub fn new(endpoint: &str) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let resource = Resource::builder().with_service_name("klankbord").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Traces(provider.with_resource(resource).build()))
    }

    /// What takes spans of ours, and nothing else, to the collector.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("klankbord"));
        let layer = layer.with_location(false).with_threads(false).with_target(false);
        layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Sends what is left. To be called off the runtime's threads.
    pub fn end(&self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "some traces were not sent");
        }
    }
}

/// What a caller says of its own span: `traceparent` and `tracestate`.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    pub parent: Option<&'a str>,
    pub state: Option<&'a str>,
}

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.parent,
            "tracestate" => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// A span for a call, below the caller's own, if any. Costs next to nothing where no traces are sent.
pub fn call(method: &'static str, caller: Caller<'_>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        klankbord.messages = Empty,
    );
    if !span.is_disabled() {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &caller);
        // It has not begun, so this cannot fail.
        let _ = span.set_parent(parent);
    }
    span
}

/// How the call of a span ended.
pub fn answered(span: &Span, code: &'static str, messages: usize) {
    span.record("rpc.response.status_code", code);
    span.record("klankbord.messages", i64::try_from(messages).unwrap_or(i64::MAX));
    if FAULTS.contains(&code) {
        span.record("otel.status_code", "ERROR");
    }
}
