//! A Service whose selector names one pod: connections go to whom it names when they come about.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Relays until it is dropped.
pub(crate) struct Switch {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    _relaying: JoinSet<()>,
}

impl Switch {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let target = Arc::new(Mutex::new(target));
        let mut relaying = JoinSet::new();
        relaying.spawn(relay(listener, Arc::clone(&target)));
        Self { address, target, _relaying: relaying }
    }

    /// New connections go there from now on.
    pub(crate) fn to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

async fn relay(listener: TcpListener, target: Arc<Mutex<SocketAddr>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        connections.spawn(async move {
            // Nobody there, or an end that breaks: dropping the connection is what is seen of it.
            if let Ok(mut to) = TcpStream::connect(target).await {
                drop(copy_bidirectional(&mut from, &mut to).await);
            }
        });
    }
}
