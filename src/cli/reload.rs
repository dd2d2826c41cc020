//! What a running server reads anew: tokens, certificates and the model, on SIGHUP or when their files change.
//!
//! What is wrong is said and left alone: the server goes on with what it had. Depends on the configuration, the
//! pipeline and `rpc`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt as _};
use metrics::{counter, gauge};

use crate::config::ServerConfig;
use crate::model::bundle::{Bundle, MANIFEST};
use crate::pipeline::{Arithmetic, Live, LoadError, ModelInfo, Pipeline, Room};
use crate::rpc::Guard;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// How the model is loaded.
#[derive(Clone)]
pub struct Loading {
    pub model: Option<PathBuf>,
    pub arithmetic: Arithmetic,
    pub room: Room,
}

impl Loading {
    /// Loads it.
    ///
    /// # Errors
    /// As [`Pipeline::load_with`].
    pub fn load(&self) -> Result<Pipeline, LoadError> {
        Pipeline::load_with(self.model.as_deref(), self.arithmetic, self.room)
    }
}

/// All that can be read anew.
pub struct Reload {
    pub config: ServerConfig,
    pub loading: Loading,
    pub live: Live,
    pub guard: Guard,
}

/// What a file was when it was last looked at.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: Option<&Path>) -> Stamp {
    let file = std::fs::metadata(path?).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// A file that is looked at, and acted upon when it has changed and then stayed as it is for one look.
struct Watched {
    path: Option<PathBuf>,
    acted: Stamp,
    seen: Stamp,
}

impl Watched {
    fn new(path: Option<PathBuf>) -> Self {
        let now = stamp(path.as_deref());
        Watched { path, acted: now, seen: now }
    }

    fn has_changed(&mut self) -> bool {
        let now = stamp(self.path.as_deref());
        let settled = now.is_some() && now == self.seen && now != self.acted;
        self.seen = now;
        if settled {
            self.acted = now;
        }
        settled
    }
}

impl Reload {
    /// Looks and listens until it is dropped.
    pub async fn run(self, mut hangup: impl Stream<Item = ()> + Unpin) {
        let folder = Bundle::find(self.loading.model.as_deref()).ok();
        let mut model = Watched::new(folder.map(|folder| folder.join(MANIFEST)));
        let mut tokens = Watched::new(self.config.tokens.clone());
        let mut certificate =
            Watched::new(self.config.tls.as_ref().map(|tls| tls.certificate.clone()));
        let mut tick = tokio::time::interval(EVERY);
        loop {
            let asked = tokio::select! {
                Some(()) = hangup.next() => true,
                _ = tick.tick() => false,
            };
            if tokens.has_changed() || asked {
                self.tokens();
            }
            if certificate.has_changed() || asked {
                self.certificates();
            }
            if model.has_changed() || asked {
                self.model().await;
            }
        }
    }

    fn tokens(&self) {
        if self.config.tokens.is_none() {
            return;
        }
        let renewed = self.guard.renew_tokens(&self.config);
        if let Ok(count) = told("tokens", renewed) {
            tracing::info!(count, "tokens read anew");
        }
    }

    fn certificates(&self) {
        if self.config.tls.is_none() {
            return;
        }
        if told("certificates", self.guard.renew_certificates(&self.config)).is_ok() {
            tracing::info!("certificates read anew");
        }
    }

    async fn model(&self) {
        let loading = self.loading.clone();
        let loaded = tokio::task::spawn_blocking(move || loading.load()).await;
        // Loading does not panic; if it did, that is no more than a model that cannot be loaded.
        let Ok(loaded) = loaded else { return };
        let Ok(pipeline) = told("model", loaded) else { return };
        let now = self.live.now();
        if pipeline.model().id == now.model().id {
            tracing::info!("the model is still the same");
            return;
        }
        show(now.model(), 0.0);
        show(pipeline.model(), 1.0);
        let id = pipeline.model().id.clone();
        self.live.replace(pipeline);
        tracing::info!(
            version = id.version,
            digest = id.digest,
            "another model serves from now on"
        );
    }
}

/// Counts what came of reading something anew, and says what was wrong.
fn told<T, E: std::error::Error>(what: &'static str, result: Result<T, E>) -> Result<T, E> {
    let outcome = if result.is_ok() { "done" } else { "refused" };
    counter!("klankbord_reloads_total", "what" => what, "outcome" => outcome).increment(1);
    if let Err(error) = &result {
        let error = super::chain(error);
        tracing::error!(what, error, "cannot be read anew; what there was stays");
    }
    result
}

/// Says in the metrics which model serves.
pub fn show(model: &ModelInfo, value: f64) {
    gauge!(
        "klankbord_build_info",
        "version" => env!("CARGO_PKG_VERSION"),
        "model" => model.name.clone(),
        "model_version" => model.id.version.clone(),
        "digest" => model.id.digest.clone(),
        "kernel" => model.kernel.clone()
    )
    .set(value);
}
