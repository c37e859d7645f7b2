//! TLS between tiers: who each side is, and whom it trusts.
//!
//! Files are read again whenever they have changed, so that a certificate is renewed without a restart: new connections
//! use the new one, and those that are open keep what they agreed on.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use veneur_metric::{Condition, Turn};

/// What HTTP/2 calls itself where TLS agrees on a protocol (RFC 9113, 3.2).
const HTTP2: &[u8] = b"h2";

/// Something in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// The text itself.
    Text(String),
    /// The file that holds it.
    File(PathBuf),
}

/// A certificate with what leads from it to its authority, and its private key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why TLS cannot be spoken with what was given.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file that cannot be read.
    #[error("cannot read {path}", path = .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// Something else than PEM, or nothing in it that is wanted there.
    #[error("{place} holds no {wanted} in PEM")]
    NotPem {
        /// The file, or what the text is for.
        place: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// No peer could be checked against it.
    #[error("the authority's certificate cannot be used")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The key and the certificate do not fit together, or one of them cannot be used.
    #[error("{certificate} and {key} cannot be used together", certificate = .0.certificate.display(), key = .0.key.display())]
    Identity(Identity, #[source] rustls::Error),
    /// No name that a certificate can have.
    #[error("{0:?} is no name of a server")]
    Name(String),
}

/// How a client speaks TLS.
#[derive(Debug)]
pub struct Trust {
    authority: Pem,
    identity: Option<Identity>,
    server_name: Option<String>,
    ready: Mutex<Cached<Arc<ClientConfig>>>,
}

impl Trust {
    /// A client that trusts servers of an `authority` and shows them `identity`, if there is one. Their certificates have
    /// to be for `server_name`, or for the host that was connected to.
    ///
    /// # Errors
    /// What cannot be used now; a file that becomes unusable later leaves in force what was read before.
    pub fn new(authority: Pem, identity: Option<Identity>, server_name: Option<String>) -> Result<Self, BadTls> {
        let files = files([&authority], identity.as_ref());
        let config = client(&authority, identity.as_ref())?;
        let trust = Self { authority, identity, server_name, ready: Mutex::new(Cached::new(files, config)) };
        trust.name("localhost")?;
        Ok(trust)
    }

    /// What connects, and the name that the server's certificate has to have.
    pub(crate) fn connector(&self, host: &str) -> Result<(TlsConnector, ServerName<'static>), BadTls> {
        let config = lock(&self.ready).current(|| client(&self.authority, self.identity.as_ref()));
        Ok((TlsConnector::from(config), self.name(host)?))
    }

    fn name(&self, host: &str) -> Result<ServerName<'static>, BadTls> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| BadTls::Name(name.to_owned()))
    }
}

/// How a server speaks TLS.
#[derive(Debug)]
pub struct Guard {
    identity: Identity,
    authority: Option<Pem>,
    ready: Mutex<Cached<Arc<ServerConfig>>>,
}

impl Guard {
    /// A server that shows `identity`, and admits only clients with a certificate of an `authority`, if there is one.
    ///
    /// # Errors
    /// What cannot be used now; a file that becomes unusable later leaves in force what was read before.
    pub fn new(identity: Identity, authority: Option<Pem>) -> Result<Self, BadTls> {
        let files = files(&authority, Some(&identity));
        let config = server(&identity, authority.as_ref())?;
        Ok(Self { identity, authority, ready: Mutex::new(Cached::new(files, config)) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(lock(&self.ready).current(|| server(&self.identity, self.authority.as_ref())))
    }
}

/// What was made of some files, until they change.
#[derive(Debug)]
struct Cached<T> {
    files: Vec<PathBuf>,
    written: Vec<Option<SystemTime>>,
    made: T,
    failing: Condition,
}

impl<T: Clone> Cached<T> {
    fn new(files: Vec<PathBuf>, made: T) -> Self {
        let written = files.iter().map(|file| written(file)).collect();
        Self { files, written, made, failing: Condition::default() }
    }

    fn current(&mut self, make: impl FnOnce() -> Result<T, BadTls>) -> T {
        let written: Vec<_> = self.files.iter().map(|file| written(file)).collect();
        if written != self.written {
            match make() {
                Ok(made) => {
                    tracing::info!(files = ?self.files, "Certificates were renewed");
                    self.failing.look(0);
                    (self.made, self.written) = (made, written);
                }
                // One file was written and the other not yet, or for good: asked again with the next connection.
                Err(error) => {
                    if let Some(Turn::Begun) = self.failing.look(1) {
                        let problem = crate::client::chain(&error);
                        tracing::warn!(problem, "Changed certificates cannot be used: the ones before stay in force");
                    }
                }
            }
        }
        self.made.clone()
    }
}

fn lock<T>(cached: &Mutex<Cached<T>>) -> MutexGuard<'_, Cached<T>> {
    cached.lock().unwrap_or_else(PoisonError::into_inner)
}

fn written(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|facts| facts.modified()).ok()
}

fn files<'a>(pems: impl IntoIterator<Item = &'a Pem>, identity: Option<&Identity>) -> Vec<PathBuf> {
    let authority = pems.into_iter().filter_map(|pem| match pem {
        Pem::File(path) => Some(path.clone()),
        Pem::Text(_) => None,
    });
    let own = identity.into_iter().flat_map(|identity| [identity.certificate.clone(), identity.key.clone()]);
    authority.chain(own).collect()
}

fn client(authority: &Pem, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, BadTls> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots(authority)?);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read(identity)?;
            config.with_client_auth_cert(chain, key).map_err(|error| BadTls::Identity(identity.clone(), error))?
        }
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Arc::new(config))
}

fn server(identity: &Identity, authority: Option<&Pem>) -> Result<Arc<ServerConfig>, BadTls> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions");
    let config = match authority {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authority)?), provider())
                .build()
                .map_err(|error| BadTls::Authority(error.into()))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = read(identity)?;
    let mut config = config.with_single_cert(chain, key).map_err(|error| BadTls::Identity(identity.clone(), error))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(authority: &Pem) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    let found = match authority {
        Pem::Text(text) => certificates(text.as_bytes(), "the authority's certificate")?,
        Pem::File(path) => certificates(&contents(path)?, &path.display().to_string())?,
    };
    for certificate in found {
        roots.add(certificate).map_err(|error| BadTls::Authority(error.into()))?;
    }
    Ok(roots)
}

fn read(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BadTls> {
    let Identity { certificate, key } = identity;
    let chain = certificates(&contents(certificate)?, &certificate.display().to_string())?;
    let key = PrivateKeyDer::from_pem_slice(&contents(key)?)
        .map_err(|_| BadTls::NotPem { place: key.display().to_string(), wanted: "private key" })?;
    Ok((chain, key))
}

fn contents(path: &Path) -> Result<Vec<u8>, BadTls> {
    fs::read(path).map_err(|error| BadTls::Unreadable(path.to_owned(), error))
}

fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| BadTls::NotPem { place: place.to_owned(), wanted: "certificate" })
}
