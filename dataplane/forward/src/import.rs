//! The import server: reads what other instances forward, in dialects B and C.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt as _;
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use veneur_wire::metricpb::Metric;

use crate::{
    accept::accept,
    batch::{EXTENSIONS, Facts, INSTANCE, UNREAD},
    codec::{List, Message},
    forwardrpc::forward_server::{Forward, ForwardServer},
    offer::Offer,
    tls::Guard,
};

/// Metrics taken from a stream at once: what has arrived is merged, not what will.
const CHUNK: usize = 256;

/// Largest message accepted, as in the original: its senders never make a list of dialect B larger. A hostile one takes
/// many times its size once it is read.
const LARGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Takes what is imported.
pub trait Importer: Send + Sync + 'static {
    /// Takes some metrics of a batch. When this is `Ok` they are on the ledger: merged, held, or refused with a reason;
    /// a bad metric does not fail its batch. When it is `Err` none of them is.
    fn import(&self, facts: &Facts, metrics: Vec<Metric>) -> Result<(), Stopping>;

    /// The same for metrics that nobody has read yet. Bytes that are no metric count as one without a name.
    fn import_messages(&self, facts: &Facts, messages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), Stopping> {
        let metrics = messages.map(|message| Metric::decode(message).unwrap_or_default());
        self.import(facts, metrics.collect())
    }
}

/// This process cannot deliver what comes: it stops, or knows nobody to give it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing is taken here at present: send it to another instance, or again")]
pub struct Stopping;

impl From<Stopping> for Status {
    fn from(stopping: Stopping) -> Self {
        Self::unavailable(stopping.to_string())
    }
}

/// How imports are served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How to speak TLS; `None`: plain text.
    pub tls: Option<Arc<Guard>>,
    /// Connections at the most; more are refused.
    pub max_connections: usize,
    /// Calls under way on one connection at the most; what a client sends beyond waits at the client.
    pub max_streams: u32,
    /// After this long a client is told to connect again, so that load spreads over instances that came later; zero:
    /// never.
    pub max_connection_age: Duration,
    /// What calls under way have then, before the connection is cut; zero: as long as they take.
    pub max_connection_age_grace: Duration,
    /// How often a silent client is asked whether it is there, and how long its answer may take; `None`: never.
    pub keep_alive: Option<(Duration, Duration)>,
    /// How long a client may take to agree on TLS.
    pub handshake_timeout: Duration,
    /// Settings for those who send and follow; they may change.
    pub offered: watch::Receiver<Option<Offer>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            max_connections: 10_000,
            max_streams: 100,
            max_connection_age: Duration::ZERO,
            max_connection_age_grace: Duration::from_secs(10),
            keep_alive: Some((Duration::from_secs(30), Duration::from_secs(20))),
            handshake_timeout: Duration::from_secs(5),
            offered: watch::channel(None).1,
        }
    }
}

impl Settings {
    /// How long after it was taken a connection is cut, whatever is under way on it.
    pub(crate) fn cut_after(&self) -> Option<Duration> {
        let cuts = !self.max_connection_age.is_zero() && !self.max_connection_age_grace.is_zero();
        cuts.then(|| self.max_connection_age.saturating_add(self.max_connection_age_grace))
    }
}

/// Largest frame that a client may send: four times the default, for a quarter of the work that each takes.
const LARGEST_FRAME: u32 = 64 * 1024;

/// Connections that wait to be served, at the most: they are served at once.
const WAITING_CONNECTIONS: usize = 16;

/// Serves imports on `listener` until `stop` completes; calls under way are answered first.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    importer: Arc<dyn Importer>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = ForwardServer::new(Service { importer, instance: instance(), offered: settings.offered.clone() });
    let service = service.max_decoding_message_size(LARGEST_MESSAGE);
    let (taken, connections) = mpsc::channel(WAITING_CONNECTIONS);
    let accepting = accept(listener, settings.clone(), taken);
    let mut server = tonic::transport::Server::builder()
        .max_concurrent_streams(settings.max_streams)
        .max_frame_size(LARGEST_FRAME)
        .http2_keepalive_interval(settings.keep_alive.map(|(every, _)| every))
        .http2_keepalive_timeout(settings.keep_alive.map(|(_, within)| within));
    if !settings.max_connection_age.is_zero() {
        // Without a grace: with one, tonic 0.14 cuts the connection at its end and announces nothing before. Who takes
        // connections cuts them instead.
        server = server.max_connection_age(settings.max_connection_age);
    }
    let serving = server.add_service(service).serve_with_incoming_shutdown(ReceiverStream::new(connections), stop);
    // Nobody takes connections any more once serving has begun to end.
    let (served, ()) = tokio::join!(serving, accepting);
    served
}

/// What tells this process from the one before it at the same address.
fn instance() -> String {
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), begun.as_nanos())
}

struct Service {
    importer: Arc<dyn Importer>,
    instance: String,
    offered: watch::Receiver<Option<Offer>>,
}

#[tonic::async_trait]
impl Forward for Service {
    async fn send_metrics(&self, request: Request<List>) -> Result<Response<()>, Status> {
        let (facts, asked) = (Facts::read(request.metadata()), Offer::asked(request.metadata()));
        let list = request.into_inner();
        self.importer.import_messages(&facts, &mut list.metrics()).map_err(|stopping| unread(stopping.into()))?;
        Ok(self.answer(asked.as_deref()))
    }

    async fn send_metrics_v2(&self, request: Request<Streaming<Message>>) -> Result<Response<()>, Status> {
        let (facts, asked) = (Facts::read(request.metadata()), Offer::asked(request.metadata()));
        let peer = request.remote_addr();
        let mut chunks = request.into_inner().ready_chunks(CHUNK);
        let mut first = true;
        while let Some(chunk) = chunks.next().await {
            let mut broken = None;
            let messages = chunk.into_iter().map_while(|read| read.map_err(|status| broken = Some(status)).ok());
            let messages: Vec<Message> = messages.collect();
            let mut messages = messages.iter().map(|Message(message)| message.as_ref());
            if let Err(stopping) = self.importer.import_messages(&facts, &mut messages) {
                let status = Status::from(stopping);
                return Err(if first { unread(status) } else { status });
            }
            first = false;
            if let Some(status) = broken {
                log_broken(peer, &status);
                return Err(status);
            }
        }
        Ok(self.answer(asked.as_deref()))
    }
}

impl Service {
    fn answer(&self, asked: Option<&str>) -> Response<()> {
        let mut response = Response::new(());
        let metadata = response.metadata_mut();
        metadata.insert(EXTENSIONS, "1".parse().expect("a digit is a header value"));
        metadata.insert(INSTANCE, self.instance.parse().expect("digits and a dash are a header value"));
        Offer::answer(self.offered.borrow().as_ref(), asked, metadata);
        response
    }
}

/// Says that nothing of a call was taken: the sender may give all of it to another instance.
fn unread(mut status: Status) -> Status {
    status.metadata_mut().insert(UNREAD, "1".parse().expect("a digit is a header value"));
    status
}

fn log_broken(peer: Option<SocketAddr>, status: &Status) {
    tracing::debug!(peer = ?peer, status = %status, "Import stream broke off: what was read of it is merged");
}
