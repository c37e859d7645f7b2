//! One request to the kubelet, over a connection of its own.

use std::{io, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use veneur_config::Node;

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read. A pod takes some 20 kB of it, and a node has a few hundred.
const LONGEST: usize = 32 * 1024 * 1024;

/// Why the kubelet's pods are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubeletError {
    /// A file that the configuration names.
    #[error("cannot read node.{key} {path}")]
    File {
        key: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("node.kubelet_certificate_authority {0} holds no certificate in PEM")]
    Authority(String),
    #[error("no connection to the kubelet at {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("the kubelet at {0} did not answer in {PATIENCE:?}")]
    Late(String),
    #[error(
        "the kubelet does not let us list its pods (status {0}): let this pod's service account get nodes/pods (Kubernetes 1.33 and later) or nodes/proxy, and check node.token_file"
    )]
    Forbidden(u16),
    #[error("the kubelet answered status {0}")]
    Status(u16),
    #[error("the kubelet's answer broke off")]
    Http(#[from] hyper::Error),
    #[error("the kubelet's answer is longer than {LONGEST} bytes, or broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the kubelet's answer is no list of pods")]
    Json(#[from] serde_json::Error),
    #[error("the token in node.token_file is no header's value")]
    Token(#[from] http::Error),
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
    #[error("reading the kubelet's answer panicked")]
    Panicked,
}

/// Where the kubelet is, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Client {
    /// `HOST:PORT`.
    address: String,
    tls: bool,
    authority: String,
    insecure: bool,
    token_file: String,
}

impl Client {
    pub(crate) fn new(node: &Node) -> Self {
        let tls = node.kubelet_url.starts_with("https://");
        let address = node.kubelet_url.trim_start_matches("https://").trim_start_matches("http://");
        Self {
            address: address.trim_end_matches('/').to_owned(),
            tls,
            authority: node.kubelet_certificate_authority.clone(),
            insecure: node.kubelet_insecure,
            token_file: node.token_file.clone(),
        }
    }

    /// The list of pods, as JSON.
    pub(crate) async fn pods(&self) -> Result<Bytes, KubeletError> {
        let late = |_| KubeletError::Late(self.address.clone());
        tokio::time::timeout(PATIENCE, self.exchange()).await.map_err(late)?
    }

    async fn exchange(&self) -> Result<Bytes, KubeletError> {
        let mut request =
            Request::get("/pods").header(header::HOST, &self.address).header(header::ACCEPT, "application/json");
        // Never in the open; the read-only port asks for none.
        if self.tls && !self.token_file.is_empty() {
            let token = read("token_file", &self.token_file).await?;
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        let request = request.body(Empty::new())?;
        let refused = |source| KubeletError::Connect { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(refused)?;
        if !self.tls {
            return answer(stream, request).await;
        }
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| refused(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(self.tls().await?));
        answer(connector.connect(name, stream).await.map_err(refused)?, request).await
    }

    async fn tls(&self) -> Result<ClientConfig, KubeletError> {
        let provider = Arc::new(ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        if self.insecure {
            let anyone = Arc::new(Anyone(provider));
            return Ok(config.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth());
        }
        let pem = read("kubelet_certificate_authority", &self.authority).await?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
        if roots.is_empty() {
            return Err(KubeletError::Authority(self.authority.clone()));
        }
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }
}

async fn read(key: &'static str, path: &str) -> Result<String, KubeletError> {
    let failed = |source| KubeletError::File { key, path: path.to_owned(), source };
    tokio::fs::read_to_string(path).await.map_err(failed)
}

async fn answer<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Bytes, KubeletError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Aborted when this returns.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(KubeletError::Forbidden(status.as_u16()));
        }
        status => return Err(KubeletError::Status(status.as_u16())),
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(KubeletError::Body)?;
    Ok(body.to_bytes())
}

/// Takes any certificate, of which only the key has to be the server's own.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
