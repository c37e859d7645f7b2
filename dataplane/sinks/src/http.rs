//! Requests to backends: one attempt, one answer, one deadline.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::time::{Instant, timeout_at};

use crate::SendError;

/// How every sink introduces itself.
pub(crate) const USER_AGENT: &str = concat!("veneur/", env!("CARGO_PKG_VERSION"));

/// Most of an answer that is read: enough to say why, and to reuse the connection.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Most of an answer that is repeated in an error.
const MAX_ERROR_CHARS: usize = 200;
/// Below what load balancers commonly allow, so that the next flush does not write into a closed connection.
const IDLE: Duration = Duration::from_secs(30);

const REDACTED: &str = "REDACTED";

/// HTTP/1.1 with TLS where the URL says so, trusting the certificate authorities baked into this executable.
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    secret: String,
}

impl HttpClient {
    /// `timeout` covers an exchange as a whole, from connecting to the end of the answer. No error repeats `secret`.
    pub(crate) fn new(timeout: Duration, secret: String) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, timeout, secret }
    }

    /// Sends and judges: 2xx is success; 408, 429 and 5xx are worth another try; all else is not.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(), SendError> {
        let deadline = Instant::now() + self.timeout;
        let late = |_| SendError::Unavailable(format!("no answer within {:?}", self.timeout));
        let response = timeout_at(deadline, self.client.request(request)).await.map_err(late)?;
        let response = response.map_err(|error| SendError::Unavailable(self.redacted(&causes(&error))))?;
        let status = response.status();
        // The status decides. An answer that breaks off after it says less, but changes nothing.
        let answer = timeout_at(deadline, Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect()).await;
        let answer = answer.ok().and_then(Result::ok).map(Collected::to_bytes).unwrap_or_default();
        let body_start = || {
            let text = self.redacted(&String::from_utf8_lossy(&answer));
            let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            one_line.chars().take(MAX_ERROR_CHARS).collect::<String>()
        };
        match status {
            status if status.is_success() => Ok(()),
            status if status.is_server_error() || AGAIN.contains(&status) => {
                Err(SendError::Unavailable(format!("status {}: {}", status.as_u16(), body_start())))
            }
            status => Err(SendError::Rejected { status: status.as_u16(), body_start: body_start() }),
        }
    }

    fn redacted(&self, text: &str) -> String {
        if self.secret.is_empty() { text.to_owned() } else { text.replace(&self.secret, REDACTED) }
    }
}

/// Client errors that say: later.
const AGAIN: [StatusCode; 2] = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];

/// The whole chain of causes on one line: the outermost error of a client only says that connecting failed.
fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
