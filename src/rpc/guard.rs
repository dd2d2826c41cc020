//! Who may come in and how: TLS and bearer tokens, read from files, and anew when those change.
//! Depends on the configuration, `crate::bearer` and `rpc::tls`.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::bearer::{Bearers, BearersError};
use crate::config::ServerConfig;
use crate::rpc::tls::{Tls, TlsError};

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Certificates or keys are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Tokens are wrong.
    #[error(transparent)]
    Bearers(#[from] BearersError),
}

/// Who may call, where that matters; it may change while the server runs.
pub(super) type Callers = Option<Arc<ArcSwap<Bearers>>>;

/// What a server asks of who comes in. Clones share it.
#[derive(Clone, Default)]
pub struct Guard {
    pub(super) tls: Option<Tls>,
    pub(super) callers: Callers,
}

impl Guard {
    /// As the configuration says, by the files that it names.
    ///
    /// # Errors
    /// [`GuardError`] naming the file or the lines that are wrong.
    pub fn new(config: &ServerConfig) -> Result<Self, GuardError> {
        let tls = config.tls.as_ref().map(Tls::read).transpose()?;
        let callers = config.tokens.as_deref().map(Bearers::read).transpose()?;
        Ok(Guard { tls, callers: callers.map(|callers| Arc::new(ArcSwap::from_pointee(callers))) })
    }

    /// Reads the tokens anew, for calls from now on; how many there are.
    ///
    /// # Errors
    /// As [`Guard::new`]; all stays as it was then.
    pub fn renew_tokens(&self, config: &ServerConfig) -> Result<usize, GuardError> {
        let Some((callers, path)) = self.callers.as_ref().zip(config.tokens.as_deref()) else {
            return Ok(0);
        };
        let read = Bearers::read(path)?.after(&callers.load());
        let count = read.count();
        callers.store(Arc::new(read));
        Ok(count)
    }

    /// Reads certificates and key anew, for connections from now on.
    ///
    /// # Errors
    /// As [`Guard::new`]; all stays as it was then.
    pub fn renew_certificates(&self, config: &ServerConfig) -> Result<(), GuardError> {
        match self.tls.as_ref().zip(config.tls.as_ref()) {
            Some((tls, files)) => tls.reread(files).map_err(Into::into),
            None => Ok(()),
        }
    }
}
