//! Certificates: authorities, the leaves they sign, and the leaf that a server shows.
//!
//! Pure but for the random numbers of keys: time comes in as an argument. Where authorities are kept is
//! [`crate::certificates::authority`]'s, and when one takes over from another [`crate::certificates::keyring`]'s.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Certificates are valid from this long before they are made, for clocks that go slow.
const BACKDATED: Duration = Duration::from_hours(1);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A key or certificate cannot be made or read.
    #[error("cannot make or read a certificate")]
    Generation(#[from] rcgen::Error),
    /// A key was made that TLS cannot use.
    #[error("cannot use the key for TLS")]
    Tls(#[from] rustls::Error),
    /// Something else than certificates or a key in PEM.
    #[error("no PEM")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// Something else than a certificate, in the right wrapping.
    #[error("no X.509 certificate")]
    Malformed,
}

/// Signs leaves; what clients trust.
pub struct Authority {
    key: KeyPair,
    subject: &'static str,
    certificate: Certificate,
}

/// A certificate, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its text in PEM.
    pub pem: String,
    /// The end of its life.
    pub expires: SystemTime,
}

impl Certificate {
    /// The certificate of a text in PEM; the first where there are several.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let expires = expires(&CertificateDer::from_pem_slice(pem.as_bytes())?)?;
        Ok(Self { pem: pem.to_owned(), expires })
    }
}

/// The end of a certificate's life.
pub fn expires(certificate: &CertificateDer<'_>) -> Result<SystemTime, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    let seconds = parsed.validity().not_after.timestamp();
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// What a leaf is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// Names of the server, the first of which is the subject as well.
    pub names: Vec<String>,
    /// Whether its holder also shows it as a client.
    pub client: bool,
    /// How long it lives, where its authority lives as long.
    pub life: Duration,
}

/// A leaf and its key in PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key. Secret.
    pub key_pem: String,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority that lives for `life`.
    pub fn generate(subject: &'static str, now: SystemTime, life: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(subject);
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + life).into();
        let certificate = Certificate::from_pem(&params.self_signed(&key)?.pem())?;
        Ok(Self { key, subject, certificate })
    }

    /// An authority that was kept.
    pub fn from_pem(subject: &'static str, key: &str, certificate: &str) -> Result<Self, CertificateError> {
        Ok(Self { key: KeyPair::from_pem(key)?, subject, certificate: Certificate::from_pem(certificate)? })
    }

    /// The certificate, for those who trust it.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The key: what goes into the Secret, and nowhere else.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A new key, and the certificate for it. It never outlives the authority.
    pub fn sign(&self, purpose: &Purpose, now: SystemTime) -> Result<Leaf, CertificateError> {
        let mut params = CertificateParams::new(purpose.names.clone())?;
        params.distinguished_name = named(purpose.names.first().map_or(self.subject, String::as_str));
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + purpose.life).min(self.certificate.expires).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if purpose.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        // An issuer is a name and a key: the authority's own certificate need not be parsed.
        let issuer = authority_params(self.subject);
        let pem = params.signed_by(&key, &Issuer::from_params(&issuer, &self.key))?.pem();
        Ok(Leaf { certificate: Certificate::from_pem(&pem)?, key_pem: key.serialize_pem() })
    }
}

fn authority_params(subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(subject);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    // A common name holds at most 64 characters; what counts is the list of alternative names.
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    subject
}

/// The leaf that a server shows.
pub struct CurrentLeaf(RwLock<Arc<CertifiedKey>>);

impl CurrentLeaf {
    /// Starts with the leaf of these texts, with what leads from it to its authority.
    pub fn new(certificates_pem: &str, key_pem: &str) -> Result<Self, CertificateError> {
        Ok(Self(RwLock::new(Arc::new(certified(certificates_pem, key_pem)?))))
    }

    /// Shows another one from the next connection on; those that are open keep what they agreed on.
    pub fn exchange(&self, certificates_pem: &str, key_pem: &str) -> Result<(), CertificateError> {
        let leaf = Arc::new(certified(certificates_pem, key_pem)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = leaf;
        Ok(())
    }
}

fn certified(certificates_pem: &str, key_pem: &str) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates_pem.as_bytes()).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(CertificateError::Malformed);
    }
    let key = CertifiedKey::new(chain, any_supported_type(&PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?)?);
    key.keys_match()?;
    Ok(key)
}

impl fmt::Debug for CurrentLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CurrentLeaf")
    }
}

impl ResolvesServerCert for CurrentLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
