//! One question to one pod, bounded in time and bytes.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::report::StatusPage;

/// For everything: connecting, asking, reading.
const PATIENCE: Duration = Duration::from_secs(3);
/// A global with thousands of members, origins and listeners stays below.
const LONGEST: usize = 1 << 20;

/// Why a pod's state is not known.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// It took too long.
    #[error("no answer within 3 s")]
    Late,
    /// Nobody listens, or the way is closed.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    /// It answered something else.
    #[error("its /status answered {0}")]
    Status(StatusCode),
    /// The answer is too long, or broke off.
    #[error("its /status is longer than 1 MiB or broke off")]
    Body,
    /// The answer is none.
    #[error("its /status is no account of ours")]
    Unreadable(#[source] serde_json::Error),
}

/// What the pod at this address serves as `/status`.
pub(super) async fn status(address: SocketAddr) -> Result<StatusPage, PollError> {
    timeout(PATIENCE, ask(address)).await.map_err(|_| PollError::Late)?
}

async fn ask(address: SocketAddr) -> Result<StatusPage, PollError> {
    let stream = TcpStream::connect(address).await.map_err(PollError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(PollError::Broken)?;
    let request = Request::get("/status")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("a path and two headers");
    let answer = async {
        let response = sender.send_request(request).await.map_err(PollError::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(PollError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(|_| PollError::Body)?.to_bytes();
        serde_json::from_slice(&body).map_err(PollError::Unreadable)
    };
    // The connection does the reading; how it ends says nothing that the answer does not.
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answered = &mut answer => answered,
        _ = &mut connection => answer.await,
    }
}
