//! One connection to one address, and what became of each batch sent over it.

use std::{error::Error, time::Duration};

use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use veneur_metric::{Condition, Turn};

use crate::{
    batch::{Batch, EXTENSIONS, Facts},
    forwardrpc::forward_client::ForwardClient,
};

/// A peer that does not take a connection for this long is treated as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A batch that is not answered for this long is given up as uncertain.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends batches in dialect C to one address, connecting when there is something to send.
#[derive(Debug)]
pub struct Client {
    address: String,
    connection: Option<Connection>,
    /// Whether the peer is one of the original's, by connection.
    plain: Condition,
}

#[derive(Debug)]
struct Connection {
    client: ForwardClient<Channel>,
    /// Whether the peer reads our extension fields; the original's peers do not.
    extended: bool,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Sent {
    /// Metrics left out because the peer could not have read them. They are in no count of the outcome.
    pub unsendable: u64,
    /// What became of the rest.
    pub outcome: Outcome,
}

/// The three things that can become of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// The peer has this many metrics on its ledger.
    Acknowledged(u64),
    /// It certainly was not read and can be sent again: the batch comes back, with what went wrong.
    NotSent(Batch, String),
    /// This many metrics may or may not have been read, and what went wrong.
    Uncertain(u64, String),
}

impl Client {
    /// A client for `host:port`. Nothing is connected yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), connection: None, plain: Condition::default() }
    }

    /// Sends one batch and waits for its answer.
    pub async fn send(&mut self, mut batch: Batch) -> Sent {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => match connect(&self.address).await {
                Ok(connection) => {
                    tell(&mut self.plain, &self.address, connection.extended);
                    self.connection.insert(connection)
                }
                Err(problem) => {
                    return Sent { unsendable: 0, outcome: Outcome::NotSent(batch, problem) };
                }
            },
        };
        let unsendable = if connection.extended { 0 } else { batch.keep_what_the_original_reads() };
        let outcome = if batch.is_empty() { Outcome::Acknowledged(0) } else { deliver(connection, batch).await };
        if !matches!(outcome, Outcome::Acknowledged(_)) {
            self.connection = None;
        }
        Sent { unsendable, outcome }
    }
}

async fn deliver(connection: &mut Connection, batch: Batch) -> Outcome {
    let mut request = Request::new(tokio_stream::iter(batch.metrics.clone()));
    batch.facts.write(request.metadata_mut());
    let status = match tokio::time::timeout(ANSWER_TIMEOUT, connection.client.send_metrics_v2(request)).await {
        Ok(Ok(_)) => return Outcome::Acknowledged(batch.len()),
        Ok(Err(status)) => status,
        Err(_) => Status::new(Code::DeadlineExceeded, format!("not answered within {ANSWER_TIMEOUT:?}")),
    };
    if certainly_unread(&status) {
        Outcome::NotSent(batch, describe(&status))
    } else {
        Outcome::Uncertain(batch.len(), describe(&status))
    }
}

/// Connects and asks, by an empty call, whether the peer reads our extensions.
async fn connect(address: &str) -> Result<Connection, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("{address} is not an address: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let channel = endpoint.connect().await.map_err(|error| chain(&error))?;
    let mut client = ForwardClient::new(channel);
    let mut probe = Request::new(tokio_stream::empty());
    Facts::default().write(probe.metadata_mut());
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.send_metrics_v2(probe))
        .await
        .map_err(|_| format!("not answered within {ANSWER_TIMEOUT:?}"))?
        .map_err(|status| describe(&status))?;
    let extended = answer.metadata().contains_key(EXTENSIONS);
    Ok(Connection { client, extended })
}

/// Says once that a peer reads no extensions, and once that it does after all.
fn tell(plain: &mut Condition, address: &str, extended: bool) {
    match plain.look(u64::from(!extended)) {
        Some(Turn::Begun) => {
            tracing::warn!(address, "Peer does not read extensions: finished points cannot be sent to it");
        }
        Some(Turn::Over { .. }) => tracing::info!(address, "Peer reads extensions now"),
        None => {}
    }
}

/// Whether the peer cannot have read the request: it refused the stream, or there was no connection to send it on.
fn certainly_unread(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return h2.reason() == Some(h2::Reason::REFUSED_STREAM);
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
