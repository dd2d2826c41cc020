//! TLS of the server, and of its clients where their certificates are asked for. Certificates can be read anew
//! while the server runs. Depends on the configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("{file} cannot be used: {source}")]
    Pem { file: String, source: pem::Error },
    /// A file has no certificate.
    #[error("{file} has no certificate")]
    Empty { file: String },
    /// Certificates and key do not fit, or are of a kind that is not supported.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// What is to sign the clients' certificates cannot.
    #[error("the clients' authorities cannot be used: {0}")]
    Clients(#[from] VerifierBuilderError),
}

/// How connections are secured from now on.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn read(files: &config::Tls) -> Result<Self, TlsError> {
        Ok(Tls(Arc::new(ArcSwap::from_pointee(load(files)?))))
    }

    /// Reads them anew, for connections from now on.
    ///
    /// # Errors
    /// As [`Tls::read`]; all stays as it was then.
    pub fn reread(&self, files: &config::Tls) -> Result<(), TlsError> {
        self.0.store(Arc::new(load(files)?));
        Ok(())
    }

    /// Shakes hands with a client.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = || path.display().to_string();
    let failed = |source| TlsError::Pem { file: file(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(TlsError::Empty { file: file() }) } else { Ok(found) }
}

fn load(files: &config::Tls) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|source| TlsError::Pem { file: files.key.display().to_string(), source })?;
    // Named, so that no other part of the process has a say in it.
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
