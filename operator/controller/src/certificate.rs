//! The webhook's certificates: one authority for all replicas, one leaf for each.
//!
//! The authority's key is in a Secret that every replica reads ([`crate::authority`]); each signs its own leaf in
//! memory, so that no leaf is stored and none is shared. A leaf can be exchanged while connections are served.

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
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Life of the authority.
const AUTHORITY_LIFE: Duration = Duration::from_hours(24 * 365 * 10);
/// Life of a leaf; a replica that lives longer than half of it signs a new one.
pub const LEAF_LIFE: Duration = Duration::from_hours(24 * 90);
/// Certificates are valid from this long before they are made, for clocks that go slow.
const BACKDATED: Duration = Duration::from_hours(1);
/// Subject of the authority; the issuer in every leaf.
const SUBJECT: &str = "veneur-operator webhook authority";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A key or certificate cannot be made or read.
    #[error("cannot make or read a certificate")]
    Generation(#[from] rcgen::Error),
    /// A key was made that TLS cannot use.
    #[error("cannot use the key for TLS")]
    Tls(#[from] rustls::Error),
}

/// Signs leaves; what the API server trusts.
pub struct Authority {
    key: KeyPair,
    certificate_pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new authority.
    pub fn generate(now: SystemTime) -> Result<Self, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { key, certificate_pem })
    }

    /// The authority of a Secret.
    pub fn from_pem(key_pem: &str, certificate_pem: &str) -> Result<Self, CertificateError> {
        Ok(Self { key: KeyPair::from_pem(key_pem)?, certificate_pem: certificate_pem.to_owned() })
    }

    /// The certificate: what goes into `caBundle`.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key: what goes into the Secret, and nowhere else.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A leaf for a server of these names.
    pub fn sign(&self, names: &[String], now: SystemTime) -> Result<CertifiedKey, CertificateError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(names.first().map_or(SUBJECT, String::as_str));
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LEAF_LIFE).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        // An issuer is a name and a key: the authority's own certificate need not be parsed.
        let issuer = authority_params();
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer, &self.key))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(CertifiedKey::new(vec![CertificateDer::from(certificate)], any_supported_type(&private)?))
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(SUBJECT);
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

/// The leaf in use.
pub struct CurrentLeaf(RwLock<Arc<CertifiedKey>>);

impl CurrentLeaf {
    /// Starts with a leaf.
    pub fn new(leaf: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(leaf)))
    }

    /// Uses another one from the next connection on.
    pub fn exchange(&self, leaf: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(leaf);
    }
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
