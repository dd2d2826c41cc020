//! `klankbord serve`: loads the model, binds, serves until told to stop.
//!
//! Everything that can be wrong with the configuration is found before the port is bound, so a
//! server that listens is a server that answers. Depends on the configuration, the logging, the
//! pipeline and `rpc`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::{ConfigError, ServerConfig};
use crate::pipeline::{Arithmetic, LoadError, Pipeline};
use crate::rpc::{self, ServeError, Served};
use crate::telemetry::{self, LogFormat, TelemetryError};

/// Serve verdicts over gRPC.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes any that is free.
    #[arg(long, env = "KLANKBORD_LISTEN", default_value = "127.0.0.1:50051", value_name = "ADDR")]
    pub listen: SocketAddr,

    /// Most bytes of one encoded request.
    #[arg(
        long,
        env = "KLANKBORD_MAX_REQUEST_BYTES",
        default_value_t = ServerConfig::default().max_request_bytes(),
        value_name = "BYTES"
    )]
    pub max_request_bytes: usize,

    /// Most messages of one stream that are in the works or not yet read by the caller.
    #[arg(
        long,
        env = "KLANKBORD_STREAM_WINDOW",
        default_value_t = ServerConfig::default().stream_window(),
        value_name = "MESSAGES"
    )]
    pub stream_window: usize,

    /// Most calls to work on at once, over all connections.
    #[arg(
        long,
        env = "KLANKBORD_MAX_CALLS",
        default_value_t = ServerConfig::default().max_calls(),
        value_name = "CALLS"
    )]
    pub max_calls: usize,

    /// Longest time a call other than a stream may take, in seconds; callers can ask for less.
    #[arg(long, env = "KLANKBORD_CALL_TIMEOUT_S", value_name = "SECONDS")]
    pub call_timeout_s: Option<u64>,

    /// Longest time to finish accepted calls in when told to stop, in seconds.
    #[arg(
        long,
        env = "KLANKBORD_DRAIN_TIMEOUT_S",
        default_value_t = ServerConfig::default().drain_timeout().as_secs(),
        value_name = "SECONDS"
    )]
    pub drain_timeout_s: u64,

    /// How to write the log, which goes to standard error.
    #[arg(long, env = "KLANKBORD_LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
}

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeCommandError {
    /// A setting is out of bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The model could not be loaded.
    #[error("the model cannot be loaded")]
    Load(#[from] LoadError),
    /// The runtime or the handlers of signals could not be set up.
    #[error("the runtime cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// The address cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl ServeArgs {
    fn config(&self) -> Result<ServerConfig, ConfigError> {
        ServerConfig::default()
            .with_max_request_bytes(self.max_request_bytes)?
            .with_stream_window(self.stream_window)?
            .with_max_calls(self.max_calls)?
            .with_drain_timeout(Duration::from_secs(self.drain_timeout_s))?
            .with_call_timeout(self.call_timeout_s.map(Duration::from_secs))
    }
}

/// Serves until the process is told to stop by SIGTERM or Ctrl-C.
///
/// # Errors
/// [`ServeCommandError`] where the server cannot start or the transport fails.
pub fn run(args: &ServeArgs, model: (Option<&Path>, Arithmetic)) -> Result<(), ServeCommandError> {
    let config = args.config()?;
    telemetry::init(args.log_format)?;
    let pipeline = Pipeline::load_with(model.0, model.1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeCommandError::Runtime)?;
    let served = runtime.block_on(serve(args.listen, pipeline, config));
    // Calls that outlived the drain timeout, if any, do not hold up the process.
    runtime.shutdown_background();
    served
}

async fn serve(
    address: SocketAddr,
    pipeline: Pipeline,
    config: ServerConfig,
) -> Result<(), ServeCommandError> {
    // Before anyone can know that we are here, so that no signal is missed.
    let stop = stop_signal().map_err(ServeCommandError::Runtime)?;
    let bind = |source| ServeCommandError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let model = pipeline.model();
    tracing::info!(
        address = %bound,
        model = model.name,
        version = model.id.version,
        digest = model.id.digest,
        "listening"
    );
    // For whoever asked for port 0. If nobody reads it, that is no reason not to serve.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "listening on {bound}").and_then(|()| out.flush());
    drop(out);

    // Calls left behind have no say in when the process ends; the others are done by now.
    if rpc::run(listener, pipeline.clone(), config, stop).await? == Served::Drained {
        pipeline.shutdown().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Completes on SIGTERM or Ctrl-C. The handlers are in place when this returns.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Completes on Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system's own ends the process.
            std::future::pending::<()>().await;
        }
    })
}
