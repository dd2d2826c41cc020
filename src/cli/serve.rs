//! `klankbord serve`: loads the model, binds, serves until told to stop.
//!
//! Everything that can be wrong with the configuration is found before a port is bound, so a
//! server that listens is a server that answers. Depends on the configuration, telemetry, the
//! pipeline, `admin` and `rpc`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use metrics::gauge;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::reload::{Loading, Reload, Watches, show};
use super::settings::{SettingsArgs, strangers};
use crate::admin;
use crate::batch::queue::Bounds;
use crate::config::{Problems, ServerConfig, shown};
use crate::feedback::Store;
use crate::kpi::period::{NoZone, zone};
use crate::kpi::sentinel::Sentinel;
use crate::model::kernel::Kernel;
use crate::pipeline::{Arithmetic, Live, LoadError, Precision, Room};
use crate::route::{PolicyError, Router};
use crate::rpc::{self, Guard, GuardError, ServeError, Served, Serving};
use crate::telemetry::{self, LogFormat, Metrics, TelemetryError, Traces};

/// Files that are open beside those of connections.
const SPARE_FILES: u64 = 128;
/// How often what histograms keep is cleared away.
const TIDY: Duration = Duration::from_secs(5);
/// How often the running hour is held against the weeks before it.
const JUDGE: Duration = Duration::from_secs(10);
/// Judgements after which the counts of the hours are written down.
const KEEP: u32 = 30;

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeCommandError {
    /// Settings are wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Certificates or tokens are wrong.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The routing policy is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Corrections cannot be kept.
    #[error("the folder of corrections cannot be written to")]
    Feedback(#[source] std::io::Error),
    /// The time zone is none.
    #[error(transparent)]
    Zone(#[from] NoZone),
    /// The counts of the hours before cannot be read.
    #[error("kpi.history cannot be read")]
    History(#[source] std::io::Error),
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

/// What the model's settings are on the command line, by flag.
pub type ModelFlags<'a> = &'a [(&'static str, String)];

/// `klankbord config`: prints the effective configuration and where each value comes from.
///
/// # Errors
/// Everything that is wrong with it.
pub fn print(args: &SettingsArgs, model: ModelFlags<'_>) -> Result<(), Problems> {
    let (values, _) = args.read(model)?;
    print!("{}", shown(&values));
    Ok(())
}

/// Serves until the process is told to stop by SIGTERM or Ctrl-C.
///
/// # Errors
/// [`ServeCommandError`] where the server cannot start or the transport fails.
pub fn run(args: &SettingsArgs, model: ModelFlags<'_>) -> Result<(), ServeCommandError> {
    let (_, config) = args.read(model)?;
    // The checks know the same names.
    let log = LogFormat::from_str(&config.log_format, true).unwrap_or(LogFormat::Auto);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeCommandError::Runtime)?;
    // Before anything takes its time, so that no signal is missed, or ends the process as if it were unknown.
    let signals = {
        let _entered = runtime.enter();
        stop_signal().and_then(|stop| Ok((stop, hangup_signal()?)))
    };
    let signals = signals.map_err(ServeCommandError::Runtime)?;
    let traces = {
        let _entered = runtime.enter();
        config.otlp_endpoint.as_deref().map(Traces::new).transpose()
    };
    let traces = traces.map_err(TelemetryError::Traces)?;
    telemetry::init(log, traces.as_ref())?;
    for name in strangers() {
        tracing::warn!(name, "an environment variable that no setting has");
    }
    enough_files(&config);
    let watches = Watches::new(&config);
    let guard = Guard::new(&config)?;
    let loading = loading(&config);
    let metrics = config.admin_listen.map(|_| Metrics::install()).transpose();
    let metrics = metrics.map_err(TelemetryError::Metrics)?;
    let router = config.policy.as_deref().map(Router::read).transpose()?;
    let live = Live::from(loading.load()?);
    let most = config.feedback_max_file_bytes;
    let store = config.feedback_folder.as_deref().map(|folder| Store::open(folder, most));
    let feedback = store.transpose().map_err(ServeCommandError::Feedback)?.map(Arc::new);
    let sentinel = Sentinel::open(zone(&config.time_zone)?, config.history.as_deref());
    let sentinel = Some(sentinel.map_err(ServeCommandError::History)?);
    let serving = Serving { live, guard, router, feedback, sentinel };
    let reload = Reload { config, loading, serving };
    let served = runtime.block_on(serve((reload, watches), metrics, signals));
    if let Some(traces) = traces {
        traces.end();
    }
    // Calls that outlived the drain timeout, if any, do not hold up the process.
    runtime.shutdown_background();
    served
}

fn loading(config: &ServerConfig) -> Loading {
    let precision = Precision::from_str(&config.precision, true).unwrap_or_default();
    let kernel = config.kernel.as_deref().and_then(|name| Kernel::from_str(name, true).ok());
    let bounds = Bounds {
        messages: config.queue_messages,
        bytes: config.queue_bytes,
        wait: [config.interactive_wait, config.bulk_wait],
    };
    Loading {
        model: config.model.clone(),
        arithmetic: Arithmetic { precision, kernel },
        room: Room { bounds, batch_time: config.batch_time },
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeCommandError> {
    let failed = |source| ServeCommandError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Lets the process have a file for each connection, as far as the system allows.
fn enough_files(config: &ServerConfig) {
    let wanted =
        u64::try_from(config.max_connections).unwrap_or(u64::MAX).saturating_add(SPARE_FILES);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(files) if files < wanted => {
            tracing::warn!(
                files,
                wanted,
                "there may be fewer connections than limits.max_connections"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on open files is not known"),
    }
}

async fn serve(
    (reload, watches): (Reload, Watches),
    metrics: Option<Metrics>,
    (stop, hangup): (impl Future<Output = ()>, BoxStream<'static, ()>),
) -> Result<(), ServeCommandError> {
    let (config, serving) = (reload.config.clone(), reload.serving.clone());
    let live = serving.live.clone();
    let (listener, bound) = bind(config.listen).await?;
    let (ready, readiness) = watch::channel(true);
    let mut lines = format!("listening on {bound}\n");
    let mut operators = tokio::task::JoinSet::new();
    if let (Some(address), Some(metrics)) = (config.admin_listen, metrics) {
        let (listener, bound) = bind(address).await?;
        lines.push_str(&format!("metrics and probes on {bound}\n"));
        gauge!("klankbord_queue_messages_limit").set(config.queue_messages as f64);
        gauge!("klankbord_queue_bytes_limit").set(config.queue_bytes as f64);
        gauge!("klankbord_ready").set(1.0);
        show(live.now().model(), 1.0);
        let tidied = metrics.clone();
        operators.spawn(async move {
            let mut tick = tokio::time::interval(TIDY);
            loop {
                tick.tick().await;
                tidied.tidy();
            }
        });
        operators.spawn(async move {
            if let Err(error) = admin::run(listener, metrics, readiness).await {
                tracing::error!(%error, "metrics and probes are gone");
            }
        });
    }
    operators.spawn(reload.run(watches, hangup));
    let sentinel = serving.sentinel.clone();
    if let Some(sentinel) = sentinel.clone() {
        operators.spawn(watched(sentinel));
    }
    let pipeline = live.now();
    let model = pipeline.model();
    tracing::info!(
        address = %bound,
        model = model.name,
        version = model.id.version,
        digest = model.id.digest,
        tls = config.tls.is_some(),
        tokens = config.tokens.is_some(),
        "listening"
    );
    drop(pipeline);
    // For whoever asked for port 0. If nobody reads it, that is no reason not to serve.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    drop(out);

    let stopped = async move {
        stop.await;
        ready.send_replace(false);
        gauge!("klankbord_ready").set(0.0);
    };
    // Calls left behind have no say in when the process ends; the others are done by now.
    if rpc::run(listener, serving, config, stopped).await? == Served::Drained {
        live.now().shutdown().await;
    }
    if let Some(sentinel) = sentinel {
        keep(sentinel).await;
    }
    // Probes and metrics are there to the last.
    drop(operators);
    tracing::info!("stopped");
    Ok(())
}

/// Watches for a crisis.
async fn watched(sentinel: Sentinel) {
    let (mut tick, mut ticks, mut crisis) = (tokio::time::interval(JUDGE), 0u32, false);
    loop {
        tick.tick().await;
        let found = sentinel.judge(Timestamp::now()).into_iter().flatten();
        let now = found.fold(None, |now, finding| if finding.crisis { Some(finding) } else { now });
        if let (Some(finding), false) = (now, crisis) {
            let (series, observed) = (finding.series.name(), finding.observed);
            tracing::warn!(
                series,
                observed,
                expected = finding.expected,
                "this looks like a crisis"
            );
        }
        crisis = now.is_some();
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(KEEP) {
            keep(sentinel.clone()).await;
        }
    }
}

/// Writes down the counts of the hours; the disk may take its time.
async fn keep(sentinel: Sentinel) {
    let kept = tokio::task::spawn_blocking(move || sentinel.keep()).await;
    if let Err(error) = kept.map_err(std::io::Error::other).and_then(|kept| kept) {
        tracing::error!(%error, "kpi.history cannot be written");
    }
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

/// Each SIGHUP. The handler is in place when this returns.
#[cfg(unix)]
fn hangup_signal() -> std::io::Result<BoxStream<'static, ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let hangup = signal(SignalKind::hangup())?;
    let each =
        stream::unfold(hangup, async |mut hangup| hangup.recv().await.map(|()| ((), hangup)));
    Ok(each.boxed())
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

/// Elsewhere there is no such signal; files are looked at all the same.
#[cfg(not(unix))]
fn hangup_signal() -> std::io::Result<BoxStream<'static, ()>> {
    Ok(stream::pending().boxed())
}
