//! One connection to one peer, and what became of each batch sent over it.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tonic::{Code, Extensions, Request, Status, body::Body, client::Grpc, metadata::MetadataMap, transport::Channel};
use tower::ServiceExt as _;
use veneur_metric::{Condition, Turn};

use crate::{
    batch::{Batch, EXTENSIONS, Facts, INSTANCE, UNREAD},
    clock::now_ms,
    codec::{Codec, List, Message},
    connect::{Failure, Manner, Target, dial},
    dialect::Dialect,
    forwardrpc::forward_client::ForwardClient,
    legacy::Poster,
    offer::Follower,
    packed::Packed,
    watched::{End, Watch},
};

/// Largest message of dialect B, less some: what every gRPC server takes unless told otherwise.
const LARGEST_LIST: usize = 4 * 1024 * 1024 - 1024;

/// The call of dialect C.
const STREAM: &str = "/forwardrpc.Forward/SendMetricsV2";

/// Sends batches to one peer, in the [`Dialect`] that its address names, connecting when there is something to send.
#[derive(Debug)]
pub struct Client {
    target: Target,
    dialect: Dialect,
    /// Takes the place of a connection in dialect A.
    poster: Option<Poster>,
    connection: Option<Connection>,
    /// How the last connection went, once it is given up.
    parting: Parting,
    /// The process that answered last, as far as it says which it is.
    instance: Option<String>,
    /// Whether the peer is one of the original's, by connection.
    plain: Condition,
    /// Whether the peer may be asked for life while nothing is called: the original's gRPC closes a connection on which
    /// it is asked four times without a call (`too_many_pings`).
    while_idle: bool,
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    watch: Watch,
    /// Whether the peer reads our extension fields; the original's peers do not.
    extended: bool,
    /// Whether the peer answered that it takes nothing at present.
    refuses: bool,
}

/// How a connection went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parting {
    /// Whether the peer had said before that it takes nothing more: what it answered for is not lost with it.
    pub announced: bool,
    /// When the peer last showed that it was there, in Unix milliseconds.
    pub heard_ms: u64,
}

/// Who answers at a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answerer {
    /// Who did before, or it does not say.
    Same,
    /// Another process than before: what the one before held is gone, unless it said that it leaves.
    Other,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Sent {
    /// Metrics left out because the peer could not have read them. They are in no count of the outcome.
    pub unsendable: u64,
    /// What became of the rest.
    pub outcome: Outcome,
}

/// What can become of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// The peer has this many metrics on its ledger.
    Acknowledged(u64),
    /// It certainly was not read and can be sent again: the batch comes back, with what went wrong.
    NotSent(Batch, Failure),
    /// It answered that it takes nothing of this many metrics, as it would the next time, and why.
    Rejected(u64, String),
    /// This many metrics may or may not have been read, and what went wrong.
    Uncertain(u64, String),
}

impl Client {
    /// A client of a peer, whose address is one that [`Dialect::of`] reads. Nothing is connected yet.
    pub fn new(target: impl Into<Target>) -> Self {
        let Target { address, manner } = target.into();
        let (dialect, address) = Dialect::of(&address);
        let poster = (dialect == Dialect::Http).then(|| Poster::new(address, Arc::clone(&manner)));
        let target = Target { address: address.to_owned(), manner };
        Self {
            target,
            dialect,
            poster,
            connection: None,
            parting: Parting::default(),
            instance: None,
            plain: Condition::default(),
            while_idle: true,
        }
    }

    /// Connects, unless there is a connection, and says who is there.
    pub async fn connect(&mut self) -> Result<Answerer, Failure> {
        if self.is_connected() {
            return Ok(Answerer::Same);
        }
        if let Some(poster) = &mut self.poster {
            if self.target.manner.tls.is_some() {
                return Err(Failure::refused("POST /import is plain text, and TLS is asked for"));
            }
            return poster.reach().await.map(|()| Answerer::Same);
        }
        let (mut connection, mut instance) = connect(&self.target, self.dialect, self.while_idle).await?;
        if connection.extended != self.while_idle {
            self.while_idle = connection.extended;
            (connection, instance) = connect(&self.target, self.dialect, self.while_idle).await?;
        }
        self.tell(connection.extended);
        self.connection = Some(connection);
        let other = self.instance.is_some() && self.instance != instance;
        self.instance = instance;
        Ok(if other { Answerer::Other } else { Answerer::Same })
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.poster.as_ref().map_or(self.connection.is_some(), Poster::is_reached)
    }

    /// Completes when the connection ends, and says whether the peer had announced that; never without one.
    pub async fn ended(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return std::future::pending().await };
        let end = connection.watch.end().await;
        self.give_up();
        end == End::Announced
    }

    /// How the last connection went that ended or was given up.
    pub fn parting(&self) -> Parting {
        self.parting
    }

    fn give_up(&mut self) {
        if let Some(Connection { watch, refuses, .. }) = self.connection.take() {
            self.parting = Parting { announced: refuses || watch.announced(), heard_ms: watch.heard_ms() };
        }
    }

    /// Sends one batch, over a new connection if there is none, and waits for its answer. Without an answer the
    /// connection is given up.
    pub async fn send(&mut self, mut batch: Batch) -> Sent {
        let unsent = |batch, failure| Sent { unsendable: 0, outcome: Outcome::NotSent(batch, failure) };
        if let Err(failure) = self.connect().await {
            return unsent(batch, failure);
        }
        if let Some(poster) = &mut self.poster {
            let sent = poster.send(batch).await;
            // There is no connection to watch: its answers are all that is heard of it.
            if !matches!(sent.outcome, Outcome::Uncertain(..)) {
                self.parting = Parting { announced: false, heard_ms: now_ms() };
            }
            return sent;
        }
        let Some(connection) = &mut self.connection else { return unsent(batch, Failure::refused("not connected")) };
        let mut unsendable = if connection.extended { 0 } else { batch.keep_what_the_original_reads() };
        if self.dialect == Dialect::Unary {
            // A batch is far smaller, unless it is a single metric.
            unsendable += batch.metrics.keep(|_, message| message.len() < LARGEST_LIST);
        }
        let outcome = if batch.is_empty() {
            Outcome::Acknowledged(0)
        } else {
            deliver(connection, self.dialect, batch, &self.target.manner).await
        };
        if !matches!(outcome, Outcome::Acknowledged(_)) {
            self.give_up();
        }
        Sent { unsendable, outcome }
    }

    /// Says once that the peer reads no extensions, and once that it does after all.
    fn tell(&mut self, extended: bool) {
        let address = &self.target.address;
        match self.plain.look(u64::from(!extended)) {
            Some(Turn::Begun) => {
                tracing::warn!(address, "Peer does not read extensions: finished points cannot be sent to it");
            }
            Some(Turn::Over { .. }) => tracing::info!(address, "Peer reads extensions now"),
            None => {}
        }
    }
}

async fn deliver(connection: &mut Connection, dialect: Dialect, batch: Batch, manner: &Manner) -> Outcome {
    let within = manner.answer_timeout;
    let call = call(&connection.channel, dialect, &batch.metrics, &batch.facts, manner.follower.as_ref());
    let status = match tokio::time::timeout(within, call).await {
        Ok(Ok(_)) => return Outcome::Acknowledged(batch.len()),
        Ok(Err(status)) => status,
        Err(_) => Status::new(Code::DeadlineExceeded, format!("not answered within {within:?}")),
    };
    connection.refuses = status.metadata().contains_key(UNREAD);
    if connection.refuses || certainly_unread(&status) {
        Outcome::NotSent(batch, Failure::refused(describe(&status)))
    } else {
        Outcome::Uncertain(batch.len(), describe(&status))
    }
}

/// One call of the dialect's, and the header of its answer.
async fn call(
    channel: &Channel,
    dialect: Dialect,
    metrics: &Packed,
    facts: &Facts,
    follower: Option<&Follower>,
) -> Result<MetadataMap, Status> {
    let mut asks = MetadataMap::new();
    facts.write(&mut asks);
    if let Some(follower) = follower {
        follower.ask(&mut asks);
    }
    let header = if dialect == Dialect::Unary {
        let request = Request::from_parts(asks, Extensions::default(), List::of(metrics));
        ForwardClient::new(channel.clone()).send_metrics(request).await?.into_parts().0
    } else {
        stream(channel, metrics.frames(), asks).await?
    };
    if let Some(follower) = follower {
        follower.take(&header);
    }
    Ok(header)
}

/// What the generated client does, except that the messages are framed already, and that an answer may be a status alone:
/// the original's global of 14.2.0 ends a stream that it has merged with OK and no message.
async fn stream(channel: &Channel, frames: Bytes, asks: MetadataMap) -> Result<MetadataMap, Status> {
    let framed = move |request: http::Request<Body>| request.map(|_| body(frames.clone()));
    let mut client = Grpc::new(channel.clone().map_request(framed));
    client.ready().await.map_err(|error| Status::unknown(format!("not ready: {error}")))?;
    let request = Request::from_parts(asks, Extensions::default(), tokio_stream::empty::<Message>());
    let codec = Codec::<Message, ()>::default();
    let answer = client.streaming(request, PathAndQuery::from_static(STREAM), codec).await?;
    let (header, mut body, _) = answer.into_parts();
    loop {
        match body.message().await {
            Ok(Some(())) => {}
            Ok(None) => return Ok(header),
            Err(mut status) => {
                let mut all = header.into_headers();
                all.extend(std::mem::take(status.metadata_mut()).into_headers());
                *status.metadata_mut() = MetadataMap::from_headers(all);
                return Err(status);
            }
        }
    }
}

/// A body that ends by a frame of data, as all clients of gRPC end theirs, and tells no length before. An end in the
/// header itself, which HTTP/2 allows where nothing is sent, is lost on the gRPC of 14.2.0: its handler waits for ever.
fn body(frames: Bytes) -> Body {
    let frames = (!frames.is_empty()).then(|| Ok::<_, Status>(Frame::data(frames)));
    Body::new(StreamBody::new(tokio_stream::iter(frames)))
}

/// Connects and asks, by an empty call, whether the peer reads our extensions, and which process it is.
async fn connect(target: &Target, dialect: Dialect, while_idle: bool) -> Result<(Connection, Option<String>), Failure> {
    let (channel, watch) = dial(target, while_idle).await?;
    let within = target.manner.connect_timeout;
    let (nothing, facts) = (Packed::default(), Facts::default());
    let answer =
        tokio::time::timeout(within, call(&channel, dialect, &nothing, &facts, target.manner.follower.as_ref()))
            .await
            .map_err(|_| Failure::silent(within))?
            .map_err(|status| Failure::refused(describe(&status)))?;
    let extended = answer.contains_key(EXTENSIONS);
    let instance = answer.get(INSTANCE).and_then(|instance| instance.to_str().ok()).map(str::to_owned);
    Ok((Connection { channel, watch, extended, refuses: false }, instance))
}

/// Whether the peer cannot have taken anything of the request, although it does not say so: it refused the stream or had
/// said before that it takes no more (RFC 9113, 6.8), or there was no connection to send it on.
fn certainly_unread(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            // Only streams that the peer has not looked at end by its GOAWAY.
            let above_last = h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return above_last || h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.message(), chain(source)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
