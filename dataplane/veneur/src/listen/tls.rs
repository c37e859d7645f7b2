//! TLS for listeners: encrypted, or encrypted and only for clients that have a certificate of our authority.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The contents of `tls_key`, `tls_certificate` and `tls_authority_certificate`, in PEM; empty ones are not set.
#[derive(Clone, Default)]
pub struct Pem {
    /// The private key.
    pub key: String,
    /// The certificate, and what leads from it to its authority.
    pub certificate: String,
    /// Whose certificates clients must have; empty: they need none.
    pub authority_certificate: String,
}

/// What is printed of it is what it holds, never the key.
impl std::fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mode = match (self.key.is_empty(), self.authority_certificate.is_empty()) {
            (true, _) => "Pem(none)",
            (false, true) => "Pem(encrypted)",
            (false, false) => "Pem(authenticated)",
        };
        formatter.write_str(mode)
    }
}

/// Why there can be no TLS with what the configuration has.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// One of the three keys needs another one.
    #[error("{given} is set without {missing}: set both, or neither")]
    Incomplete {
        /// The key that is set.
        given: &'static str,
        /// The key that has to be set with it.
        missing: &'static str,
    },
    /// Something else than PEM, or nothing in it that is wanted there.
    #[error("{key} holds no {wanted} in PEM: paste the file's contents, from -----BEGIN on")]
    NotPem {
        /// The key.
        key: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The key and the certificate do not fit together, or one of them cannot be used.
    #[error("tls_key and tls_certificate cannot be used together")]
    Unusable(#[source] rustls::Error),
    /// No client could be checked against it.
    #[error("tls_authority_certificate cannot be used")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What accepts TLS with these keys; `None` where there are none. `protocols` is what is agreed on besides (ALPN).
pub(crate) fn acceptor(pem: &Pem, protocols: &[&[u8]]) -> Result<Option<TlsAcceptor>, BadTls> {
    let Pem { key, certificate, authority_certificate } = pem;
    let incomplete = |given, missing| Err(BadTls::Incomplete { given, missing });
    match (key.is_empty(), certificate.is_empty(), authority_certificate.is_empty()) {
        (true, true, true) => return Ok(None),
        (true, true, false) => return incomplete("tls_authority_certificate", "tls_key and tls_certificate"),
        (true, false, _) => return incomplete("tls_certificate", "tls_key"),
        (false, true, _) => return incomplete("tls_key", "tls_certificate"),
        (false, false, _) => {}
    }
    let chain = certificates("tls_certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| BadTls::NotPem { key: "tls_key", wanted: "private key" })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(BadTls::Unusable)?;
    let config = if authority_certificate.is_empty() {
        config.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for root in certificates("tls_authority_certificate", authority_certificate)? {
            roots.add(root).map_err(|error| BadTls::Authority(error.into()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| BadTls::Authority(error.into()))?;
        config.with_client_cert_verifier(verifier)
    };
    let mut config = config.with_single_cert(chain, key).map_err(BadTls::Unusable)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(BadTls::NotPem { key, wanted: "certificate" })
}

/// A listener's handshakes: those that fail are told once, and so is the end of it.
#[derive(Debug, Default)]
pub(super) struct Handshakes(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    last: Instant,
    count: u64,
}

/// Handshakes that fail are over when none has for this long, and one succeeds.
const OVER: Duration = Duration::from_mins(1);

impl Handshakes {
    /// Agrees on TLS with a client.
    pub(super) async fn shake(&self, tls: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let peer = stream.peer_addr().ok();
        let shaken = tls.accept(stream).await;
        match &shaken {
            Ok(_) => {
                if let Some(count) = self.succeeded(Instant::now()) {
                    tracing::info!(failed = count, "TLS handshakes succeed again");
                }
            }
            Err(error) if self.failed(Instant::now()) => {
                tracing::warn!(?peer, problem = %error, "TLS handshake failed: the connection is closed");
            }
            Err(error) => tracing::debug!(?peer, problem = %error, "TLS handshake failed"),
        }
        shaken
    }

    /// Whether this is the first failure of a series.
    fn failed(&self, now: Instant) -> bool {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failing.as_ref().map_or(0, |failing| failing.count) + 1;
        *failing = Some(Failing { last: now, count });
        count == 1
    }

    /// How many had failed, if the series is over.
    fn succeeded(&self, now: Instant) -> Option<u64> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.take_if(|failing| now.duration_since(failing.last) >= OVER).map(|failing| failing.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(key: &str, certificate: &str, authority: &str) -> Pem {
        Pem { key: key.into(), certificate: certificate.into(), authority_certificate: authority.into() }
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        assert!(acceptor(&Pem::default(), &[]).expect("plain").is_none());
        for (given, expected) in [
            (pem("k", "", ""), "tls_key is set without tls_certificate"),
            (pem("", "c", ""), "tls_certificate is set without tls_key"),
            (pem("", "c", "a"), "tls_certificate is set without tls_key"),
            (pem("", "", "a"), "tls_authority_certificate is set without tls_key and tls_certificate"),
            (pem("k", "c", ""), "tls_certificate holds no certificate in PEM"),
        ] {
            let error = acceptor(&given, &[]).err().expect("refused").to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn keys_certificates_and_authorities_have_to_be_usable() {
        let [one, other] =
            ["one", "other"].map(|name| rcgen::generate_simple_self_signed([name.into()]).expect("made"));
        let (key, certificate) = (one.signing_key.serialize_pem(), one.cert.pem());
        assert!(acceptor(&pem(&key, &certificate, ""), &[]).expect("encrypted").is_some());
        assert!(acceptor(&pem(&key, &certificate, &certificate), &[]).expect("authenticated").is_some());
        for (given, expected) in [
            (pem(&certificate, &certificate, ""), "tls_key holds no private key in PEM"),
            (pem(&key, &certificate, &key), "tls_authority_certificate holds no certificate in PEM"),
            (
                pem(&other.signing_key.serialize_pem(), &certificate, ""),
                "tls_key and tls_certificate cannot be used together",
            ),
        ] {
            let error = acceptor(&given, &[]).err().expect("refused").to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!format!("{given:?}").contains("BEGIN"), "nothing prints a key");
        }
    }

    #[test]
    fn a_series_of_failures_is_told_once_and_so_is_its_end() {
        let handshakes = Handshakes::default();
        let start = Instant::now();
        assert!(handshakes.failed(start));
        assert!(!handshakes.failed(start));
        assert_eq!(handshakes.succeeded(start), None, "others may fail still");
        assert_eq!(handshakes.succeeded(start + OVER), Some(2));
        assert_eq!(handshakes.succeeded(start + OVER), None);
        assert!(handshakes.failed(start + OVER));
    }
}
