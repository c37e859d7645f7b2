//! Whether the API server can reach the webhook: each replica dials it as the API server does, by the address and the
//! bundle of the webhook configuration, and posts an empty review.
//!
//! What this cannot see is a network that lets pods through and the control plane not. Not here: the condition and the
//! metric that are made of it.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use veneur_operator_api::WebhookReason;

use crate::certificates::{bundle::Seen, certificate::expires};

/// Between two probes while all is well, and otherwise.
const CALM: Duration = Duration::from_secs(30);
const ANXIOUS: Duration = Duration::from_secs(3);
/// As long as the API server waits by the chart's default.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is posted: it holds no pod, and so is not counted as one.
pub(crate) const EMPTY_REVIEW: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#;

/// What the last probe found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Probe {
    /// None has ended yet.
    #[default]
    Unknown,
    /// The webhook answered.
    Reachable {
        /// When the certificate that it showed ends.
        certificate_expires: SystemTime,
    },
    /// It did not.
    Unreachable {
        /// Why, in a word.
        reason: WebhookReason,
        /// Why, and what to do, in a sentence.
        message: String,
    },
}

/// Probes the webhook of `configuration` and reports, until `stop`.
pub async fn run(
    mut configuration: watch::Receiver<Seen>,
    name: String,
    report: watch::Sender<Probe>,
    stop: CancellationToken,
) {
    loop {
        let seen = configuration.borrow_and_update().clone();
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = probe(&seen, &name) => found,
        };
        report.send_if_modified(|known| {
            let news = *known != found;
            if news {
                match &found {
                    Probe::Unreachable { reason, message } => {
                        tracing::warn!(reason = reason.as_str(), "The API server cannot reach the webhook: {message}");
                    }
                    Probe::Reachable { .. } if !matches!(known, Probe::Reachable { .. }) => {
                        tracing::info!("The webhook can be reached");
                    }
                    _ => {}
                }
                *known = found.clone();
            }
            news
        });
        let wait = if matches!(found, Probe::Reachable { .. }) { CALM } else { ANXIOUS };
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = configuration.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One probe of the webhook configuration `name` as it was seen.
pub async fn probe(seen: &Seen, name: &str) -> Probe {
    let target = match seen {
        Seen::Unknown => return Probe::Unknown,
        Seen::Missing => Err(failure(
            WebhookReason::ConfigMissing,
            format!("there is no mutatingwebhookconfiguration {name}: install the chart again"),
        )),
        Seen::Present(configuration) => target(configuration),
    };
    let found = async {
        let target = target?;
        match timeout(PATIENCE, dial(&target)).await {
            Ok(found) => found,
            Err(_) => Err(failure(
                WebhookReason::ProbeTimeout,
                format!(
                    "{}:{} gave no answer in {PATIENCE:?}: is a network policy in the way?",
                    target.host, target.port
                ),
            )),
        }
    };
    match found.await {
        Ok(certificate_expires) => Probe::Reachable { certificate_expires },
        Err(Failure { reason, message }) => Probe::Unreachable { reason, message },
    }
}

/// Where the API server goes, and whom it trusts there.
struct Target {
    host: String,
    port: u16,
    path: String,
    bundle: Vec<u8>,
}

struct Failure {
    reason: WebhookReason,
    message: String,
}

fn failure(reason: WebhookReason, message: String) -> Failure {
    Failure { reason, message }
}

/// All entries of a configuration lead to one server; the first one that lacks its bundle is what is told.
fn target(configuration: &MutatingWebhookConfiguration) -> Result<Target, Failure> {
    let name = configuration.metadata.name.as_deref().unwrap_or_default();
    let missing = |what: &str| {
        failure(
            WebhookReason::ConfigMissing,
            format!("mutatingwebhookconfiguration {name} has no {what}: install the chart again"),
        )
    };
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    let first = webhooks.first().ok_or_else(|| missing("webhooks"))?;
    if let Some(without) = webhooks.iter().find(|webhook| webhook.client_config.ca_bundle.is_none()) {
        let message = format!(
            "webhook {} of mutatingwebhookconfiguration {name} has no caBundle; its leader sets it within seconds, or says in its log why not",
            without.name
        );
        return Err(failure(WebhookReason::ConfigMissing, message));
    }
    let WebhookClientConfig { ca_bundle, service, url } = &first.client_config;
    let bundle = ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
    if let Some(service) = service {
        return Ok(Target {
            host: format!("{}.{}.svc", service.name, service.namespace),
            port: service.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            path: service.path.clone().unwrap_or_else(|| "/".to_owned()),
            bundle,
        });
    }
    let url: http::Uri = url.as_deref().unwrap_or_default().parse().map_err(|_| missing("address"))?;
    let host = url.host().ok_or_else(|| missing("address"))?.to_owned();
    Ok(Target { host, port: url.port_u16().unwrap_or(443), path: url.path().to_owned(), bundle })
}

async fn dial(target: &Target) -> Result<SystemTime, Failure> {
    let Target { host, port, .. } = target;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&target.bundle).flatten() {
        // One that cannot be used vouches for nothing; the others still do.
        drop(roots.add(certificate));
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.clone()).map_err(|_| {
        failure(WebhookReason::ConfigMissing, format!("{host:?} is no name of a server: install the chart again"))
    })?;
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| {
        let message = format!("nothing answers at {host}:{port} ({error}): is a replica of the operator ready?");
        failure(WebhookReason::NoEndpoints, message)
    })?;
    let stream =
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| untrusted(target, &error))?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first).and_then(|leaf| expires(leaf).ok());
    post(target, stream).await?;
    Ok(shown.unwrap_or(SystemTime::UNIX_EPOCH))
}

async fn post(target: &Target, stream: TlsStream<TcpStream>) -> Result<(), Failure> {
    let Target { host, port, path, .. } = target;
    let silent = |error: hyper::Error| {
        failure(WebhookReason::ProbeTimeout, format!("{host}:{port} closed the connection without an answer ({error})"))
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path.as_str())
        .header(header::HOST, host.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from_static(EMPTY_REVIEW)))
        .map_err(|error| failure(WebhookReason::ConfigMissing, format!("{path:?} is no path: {error}")))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    };
    let status = tokio::select! {
        status = answer => status.map_err(silent)?,
        Err(error) = connection => return Err(silent(error)),
    };
    if status == StatusCode::OK {
        return Ok(());
    }
    Err(failure(
        WebhookReason::NoEndpoints,
        format!("{host}:{port} answers {status}: something else than the operator listens there"),
    ))
}

fn untrusted(target: &Target, error: &io::Error) -> Failure {
    let Target { host, port, .. } = target;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => failure(
            WebhookReason::CertificateExpired,
            format!(
                "the certificate of {host}:{port} has expired ({error}): restart the operator, or renew what it reads"
            ),
        ),
        Some(rustls::Error::InvalidCertificate(why)) => failure(
            WebhookReason::CertificateUntrusted,
            format!(
                "the published bundle does not vouch for {host}:{port} ({why}): does something else write the caBundle?"
            ),
        ),
        _ => failure(WebhookReason::ProbeTimeout, format!("{host}:{port} speaks no TLS ({error})")),
    }
}

#[cfg(test)]
mod tests;
