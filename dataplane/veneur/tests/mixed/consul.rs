//! As much of Consul as the original's proxies ask: the healthy members of a service.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The service of the globals' ports for `POST /import`, and of those for gRPC.
pub(crate) const SERVICES: [&str; 2] = ["globals-http", "globals-grpc"];

type Members = Arc<Mutex<[Vec<SocketAddr>; 2]>>;

/// Answers until it is dropped.
pub(crate) struct Consul {
    pub(crate) address: SocketAddr,
    members: Members,
    _serving: JoinSet<()>,
}

impl Consul {
    /// One that knows the members of each of [`SERVICES`].
    pub(crate) async fn start(members: [Vec<SocketAddr>; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let members: Members = Arc::new(Mutex::new(members));
        let mut serving = JoinSet::new();
        serving.spawn({
            let members = Arc::clone(&members);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that goes away gets no answer.
                    drop(answer(stream, &members).await);
                }
            }
        });
        Self { address, members, _serving: serving }
    }

    /// A member's checks fail from now on.
    pub(crate) fn lose(&self, addresses: [SocketAddr; 2]) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter_mut().zip(addresses).for_each(|(members, gone)| members.retain(|member| *member != gone));
    }
}

/// Answers one request of a connection, and closes it.
async fn answer(mut stream: TcpStream, members: &Members) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request);
    let asked = SERVICES.iter().position(|name| request.starts_with(&format!("GET /v1/health/service/{name}?")));
    let members = members.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let known = asked.map_or(&[][..], |service| &members[service]);
    let entries: Vec<_> = known
        .iter()
        .map(|member| json!({"Node": {"Address": member.ip()}, "Service": {"Port": member.port()}, "Checks": []}))
        .collect();
    let body = json!(entries).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}
