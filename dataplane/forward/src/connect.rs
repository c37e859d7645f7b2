//! Connecting to a peer: plain or with TLS, and watched.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint};

use crate::{
    offer::Follower,
    tls::Trust,
    watched::{Watch, Watched},
};

/// How to speak to peers.
#[derive(Debug)]
pub struct Manner {
    /// How to speak TLS; `None`: plain text.
    pub tls: Option<Trust>,
    /// A peer that does not take a connection for this long is silent.
    pub connect_timeout: Duration,
    /// A batch that is not answered for this long is given up as uncertain.
    pub answer_timeout: Duration,
    /// How often a silent connection is asked whether it is there, and how long its answer may take.
    pub keep_alive: (Duration, Duration),
    /// Where settings go that peers offer; `None`: none are asked for. In dialects B and C.
    pub follower: Option<Follower>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            tls: None,
            connect_timeout: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(10),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
            follower: None,
        }
    }
}

/// Whom a lane delivers to.
#[derive(Debug, Clone)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    /// How to speak to it.
    pub manner: Arc<Manner>,
}

impl<T: Into<String>> From<T> for Target {
    fn from(address: T) -> Self {
        Self { address: address.into(), manner: Arc::default() }
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong, for a log.
    pub problem: String,
    /// Whether nobody answered at all, rather than refusing: it may be the network, or a peer that takes its time.
    pub silent: bool,
}

impl Failure {
    pub(crate) fn refused(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), silent: false }
    }

    pub(crate) fn silent(limit: Duration) -> Self {
        Self { problem: format!("not answered within {limit:?}"), silent: true }
    }
}

/// Connects, and tells when the connection ends. `while_idle`: the peer is asked for life also while nothing is called.
pub(crate) async fn dial(target: &Target, while_idle: bool) -> Result<(Channel, Watch), Failure> {
    let Target { address, manner } = target;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Failure::refused(format!("{address} is not an address: {error}")))?
        .http2_keep_alive_interval(manner.keep_alive.0)
        .keep_alive_timeout(manner.keep_alive.1)
        .keep_alive_while_idle(while_idle);
    let opened = tokio::time::timeout(manner.connect_timeout, open(address, manner.tls.as_ref())).await;
    let (stream, watch) = opened.map_err(|_| Failure::silent(manner.connect_timeout))??;
    let mut stream = Some(stream);
    // One connection is one connection: when it ends, this channel is of no use and says so.
    let once = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(once).await;
    channel.map(|channel| (channel, watch)).map_err(|error| Failure::refused(crate::client::chain(&error)))
}

/// What a connection is made of.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn open(address: &str, tls: Option<&Trust>) -> Result<(Watched<Box<dyn Stream>>, Watch), Failure> {
    let failed = |error: io::Error| Failure {
        silent: matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable),
        problem: crate::client::chain(&error),
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(trust) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let (connector, name) =
                trust.connector(host).map_err(|error| Failure::refused(crate::client::chain(&error)))?;
            let shaken = connector.connect(name, stream).await;
            Box::new(shaken.map_err(|error| Failure::refused(format!("TLS: {}", crate::client::chain(&error))))?)
        }
    };
    Ok(Watched::new(stream))
}
