//! The certificate that this replica shows the API server: signed here, or read from files that somebody else keeps.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::certificates::{
    authority::{Kept, Safe},
    certificate::{Certificate, CurrentLeaf, Leaf, Purpose},
};

/// How often files are looked at: the kubelet replaces them through a link, which no watch on a file sees.
const LOOK: Duration = Duration::from_secs(10);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Timers stand still while a machine sleeps, certificates do not.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Where leaves come from.
#[derive(Debug)]
pub enum Source {
    /// They are signed by the keyring's current authority, each in memory.
    Signed {
        /// The keyring.
        keyring: watch::Receiver<Kept>,
        /// What for.
        purpose: Purpose,
    },
    /// Files `tls.crt` and `tls.key` in a folder, as cert-manager writes them.
    Files(PathBuf),
}

impl Source {
    /// Leaves of a keyring for a server of these names.
    pub fn signed(safe: &Safe, names: Vec<String>) -> Self {
        let purpose = Purpose { names, client: false, life: safe.lifetimes().leaf };
        Self::Signed { keyring: safe.keyring(), purpose }
    }

    fn leaf(&mut self) -> anyhow::Result<Leaf> {
        match self {
            Self::Signed { keyring, purpose } => {
                let current = Arc::clone(&keyring.borrow_and_update().keyring.current);
                current.sign(purpose, SystemTime::now()).context("cannot sign a certificate for the webhook")
            }
            Self::Files(folder) => {
                let certificate_pem = read(&folder.join("tls.crt"))?;
                let certificate = Certificate::from_pem(&certificate_pem)
                    .with_context(|| format!("{} holds no certificate", folder.join("tls.crt").display()))?;
                Ok(Leaf { certificate, key_pem: read(&folder.join("tls.key"))? })
            }
        }
    }

    /// Returns when there may be a new leaf.
    async fn renewable(&mut self, shown: &Certificate, life: Duration) {
        match self {
            Self::Signed { keyring, .. } => {
                let left = shown.expires.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
                let wait = left.saturating_sub(life / 2).clamp(Duration::from_millis(100), LONGEST_WAIT);
                tokio::select! {
                    Ok(()) = keyring.changed() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
            Self::Files(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Shows leaves of a source, the newest to each new connection.
#[derive(Debug)]
pub struct Shown {
    source: Source,
    leaf: Arc<CurrentLeaf>,
    expires: watch::Sender<Certificate>,
}

impl Shown {
    /// Takes the first leaf.
    pub fn first(mut source: Source) -> anyhow::Result<Self> {
        let first = source.leaf()?;
        let leaf = Arc::new(CurrentLeaf::new(&first.certificate.pem, &first.key_pem)?);
        Ok(Self { source, leaf, expires: watch::Sender::new(first.certificate) })
    }

    /// What answers TLS with the leaf of the moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        let resolver = Arc::clone(&self.leaf) as _;
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// The certificate of the moment, and each new one.
    pub fn certificate(&self) -> watch::Receiver<Certificate> {
        self.expires.subscribe()
    }

    /// Shows new leaves as they come, until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            let shown = self.expires.borrow().clone();
            // Half of what this one had when it was taken, as its authority may have ended it early.
            let life = shown.expires.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.source.renewable(&shown, life) => {}
            }
            while let Err(error) = self.renew() {
                tracing::warn!(error = format!("{error:#}"), "Going on with the old certificate");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
        }
    }

    fn renew(&mut self) -> anyhow::Result<()> {
        let leaf = self.source.leaf()?;
        if leaf.certificate == *self.expires.borrow() {
            return Ok(());
        }
        self.leaf.exchange(&leaf.certificate.pem, &leaf.key_pem)?;
        self.expires.send_replace(leaf.certificate);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
