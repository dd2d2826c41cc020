//! What a running server reads anew, on SIGHUP or when files change: tokens, certificates, the routing policy, the
//! model.
//!
//! What is wrong is said and left alone: the server goes on with what it had. Depends on the configuration, the
//! pipeline and `rpc`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt as _};
use metrics::{counter, gauge};
use tokio::time::MissedTickBehavior;

use crate::config::ServerConfig;
use crate::model::bundle::{Bundle, MANIFEST, TOKENIZER, WEIGHTS};
use crate::pipeline::{Arithmetic, LoadError, ModelInfo, Pipeline, Room};
use crate::rpc::Serving;

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

    /// Loads it anew, from files that may still be changing.
    fn reload(&self) -> Result<Pipeline, LoadError> {
        Pipeline::reload_with(self.model.as_deref(), self.arithmetic, self.room)
    }
}

/// All that can be read anew.
pub struct Reload {
    pub config: ServerConfig,
    pub loading: Loading,
    pub serving: Serving,
}

/// What a file was when it was last looked at.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &PathBuf) -> Stamp {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

/// Files that belong together: acted upon when one has changed and all have then stayed as they are for one look.
struct Watched {
    paths: Vec<PathBuf>,
    acted: Vec<Stamp>,
    seen: Vec<Stamp>,
}

impl Watched {
    fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<_> = paths.into_iter().collect();
        let now: Vec<_> = paths.iter().map(stamp).collect();
        Watched { paths, acted: now.clone(), seen: now }
    }

    fn has_changed(&mut self) -> bool {
        let now: Vec<_> = self.paths.iter().map(stamp).collect();
        let whole = now.iter().all(Option::is_some);
        let settled = whole && now == self.seen && now != self.acted;
        self.seen.clone_from(&now);
        if settled {
            self.acted = now;
        }
        settled
    }
}

/// All files that are looked at. To be made before they are read for the first time, so that no change is missed.
pub struct Watches {
    tokens: Watched,
    certificates: Watched,
    policy: Watched,
    model: Watched,
}

impl Watches {
    /// Those that a configuration names.
    pub fn new(config: &ServerConfig) -> Self {
        let tls = config.tls.iter().flat_map(|tls| {
            let own = [tls.certificate.clone(), tls.key.clone()];
            own.into_iter().chain(tls.client_ca.clone())
        });
        let folder = Bundle::find(config.model.as_deref()).ok();
        let model = folder
            .into_iter()
            .flat_map(|folder| [MANIFEST, WEIGHTS, TOKENIZER].map(|name| folder.join(name)));
        Watches {
            tokens: Watched::new(config.tokens.clone()),
            certificates: Watched::new(tls),
            policy: Watched::new(config.policy.clone()),
            model: Watched::new(model),
        }
    }
}

impl Reload {
    /// Looks at files and listens until it is dropped.
    pub async fn run(self, watches: Watches, mut hangup: impl Stream<Item = ()> + Unpin) {
        let Watches { mut tokens, mut certificates, mut policy, mut model } = watches;
        let mut tick = tokio::time::interval(EVERY);
        // After a slow look the next one is not at once: what changes is to be seen twice.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                Some(()) = hangup.next() => true,
                _ = tick.tick() => false,
            };
            if tokens.has_changed() || asked {
                self.tokens();
            }
            if certificates.has_changed() || asked {
                self.certificates();
            }
            if policy.has_changed() || asked {
                self.policy();
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
        let renewed = self.serving.guard.renew_tokens(&self.config);
        if let Ok(count) = told("tokens", renewed) {
            tracing::info!(count, "tokens read anew");
        }
    }

    fn certificates(&self) {
        if self.config.tls.is_none() {
            return;
        }
        if told("certificates", self.serving.guard.renew_certificates(&self.config)).is_ok() {
            tracing::info!("certificates read anew");
        }
    }

    fn policy(&self) {
        let Some((router, path)) = self.serving.router.as_ref().zip(self.config.policy.as_deref())
        else {
            return;
        };
        if let Ok(rules) = told("policy", router.reread(path)) {
            tracing::info!(rules, "routing policy read anew");
        }
    }

    async fn model(&self) {
        let loading = self.loading.clone();
        let loaded = tokio::task::spawn_blocking(move || loading.reload()).await;
        // Loading does not panic; if it did, that is no more than a model that cannot be loaded.
        let Ok(loaded) = loaded else { return };
        let Ok(pipeline) = told("model", loaded) else { return };
        let now = self.serving.live.now();
        if pipeline.model().id == now.model().id {
            tracing::info!("the model is still the same");
            return;
        }
        show(now.model(), 0.0);
        show(pipeline.model(), 1.0);
        let id = pipeline.model().id.clone();
        self.serving.live.replace(pipeline);
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
