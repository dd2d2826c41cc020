//! HTTP for operators: `/metrics` for Prometheus, `/healthz` and `/readyz` for probes. No text of any message is
//! in any of them. May depend on `telemetry`; knows nothing of gRPC.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::telemetry::Metrics;

/// Format of the metrics, as Prometheus names it.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers until it is dropped. `/readyz` says 503 as long as `ready` is false, `/healthz` always 200.
///
/// # Errors
/// Where the socket fails.
pub async fn run(
    listener: TcpListener,
    metrics: Metrics,
    ready: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let measured = move || {
        let metrics = metrics.clone();
        async move { ([(header::CONTENT_TYPE, TEXT)], metrics.render()) }
    };
    let asked = move || {
        let ready = *ready.borrow();
        async move {
            match ready {
                true => (StatusCode::OK, "ready\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            }
        }
    };
    let router = Router::new()
        .route("/metrics", get(measured))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(asked));
    axum::serve(listener, router).await
}
