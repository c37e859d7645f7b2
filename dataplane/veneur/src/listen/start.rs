//! Binds what the configuration names, and starts what reads it.

use std::{
    io,
    net::SocketAddr,
    os::{fd::AsRawFd, unix::net::SocketAddr as UnixAddress},
    sync::Arc,
};

use anyhow::Context as _;
use socket2::SockRef;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use veneur_config::Listen;

use super::{
    Connections, Listener, Settings,
    address::{no_such_family, resolve},
    drops,
    grpc::Grpc,
    inherited,
    intake::{Intake, Shared},
    tcp::{self, Tcp},
    tls, udp,
    unix::{self, Held, Unix},
    unixgram,
};
use crate::account::IngestAccount;

/// Binds every address and starts its readers in `tasks`. A machine without IPv6 is no error as long as one address can
/// be bound.
pub fn start(
    settings: &Settings,
    shared: &Shared,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Vec<Listener>> {
    let mut start = Start {
        settings,
        shared,
        tasks,
        tls: tls::acceptor(&settings.tls, &[]).context("cannot use TLS for statsd_listen_addresses")?,
        listeners: Vec::new(),
    };
    let mut missing = Vec::new();
    for url in &settings.addresses {
        let started = start.address(url);
        match started {
            Err(error) if error.downcast_ref().is_some_and(no_such_family) => missing.push((url, error)),
            started => started.with_context(|| format!("cannot listen on {url}"))?,
        }
    }
    for url in &settings.grpc_addresses {
        start.grpc(url).with_context(|| format!("cannot listen on grpc_listen_addresses {url}"))?;
    }
    for (url, error) in missing {
        if start.listeners.is_empty() {
            return Err(error).with_context(|| format!("cannot listen on {url}"));
        }
        tracing::info!(url, problem = %error, "Not listening there: this machine lacks the address family");
    }
    Ok(start.listeners)
}

struct Start<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
    tasks: &'a mut JoinSet<anyhow::Result<()>>,
    tls: Option<TlsAcceptor>,
    listeners: Vec<Listener>,
}

/// What a reader of a listener is given.
struct Parts {
    intake: Arc<Intake>,
    account: Arc<IngestAccount>,
    connections: Arc<Connections>,
    stop: CancellationToken,
    /// Dropped when the reader has ended.
    running: watch::Sender<()>,
}

impl Start<'_> {
    fn address(&mut self, url: &str) -> anyhow::Result<()> {
        match Listen::parse(url).map_err(anyhow::Error::msg)? {
            Listen::Udp(family, address) => {
                let address = resolve(family, &address)?;
                for socket in udp::bind(family, address, self.settings.readers, self.settings.read_buffer_bytes)? {
                    self.udp(socket)?;
                }
                Ok(())
            }
            Listen::Tcp(family, address) => self.tcp(tcp::bind(family, resolve(family, &address)?)?),
            Listen::UnixDatagram(name) => {
                let (socket, held) = unix::bind(&name, unix::MODE, std::os::unix::net::UnixDatagram::bind_addr)?;
                self.unixgram(url, &socket, held)
            }
            Listen::UnixStream(name) => {
                let (listener, held) = unix::bind(&name, unix::MODE, std::os::unix::net::UnixListener::bind_addr)?;
                self.unix(url, listener, held)
            }
            Listen::Inherited(descriptor) => self.inherited(url, descriptor),
        }
    }

    fn inherited(&mut self, url: &str, descriptor: i32) -> anyhow::Result<()> {
        match inherited::take(descriptor)? {
            inherited::Socket::Udp(socket) => {
                // One reader, whatever `num_readers` says: the kernel shares datagrams out to sockets, and this is one.
                SockRef::from(&socket).set_recv_buffer_size(self.settings.read_buffer_bytes)?;
                self.udp(socket)
            }
            inherited::Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                self.tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            inherited::Socket::Unixgram(socket) => self.unixgram(&named(url, socket.local_addr()), &socket, None),
            inherited::Socket::Unix(listener) => {
                let address = named(url, listener.local_addr());
                self.unix(&address, listener, None)
            }
        }
    }

    fn udp(&mut self, socket: std::net::UdpSocket) -> anyhow::Result<()> {
        let address = socket.local_addr()?;
        let inode = drops::inode(socket.as_raw_fd());
        let parts = self.listener("dogstatsd-udp", format!("udp://{address}"), Some(address), inode);
        let Parts { intake, account, stop, running, .. } = parts;
        let max_length = self.settings.max_length;
        // A thread of its own until the listener stops.
        self.tasks.spawn_blocking(move || {
            name_thread(&format!("read-udp-{}", address.port()));
            let read = udp::read(&socket, max_length, &intake, &account, &stop);
            drop(running);
            read.context("cannot read a UDP socket")
        });
        Ok(())
    }

    fn tcp(&mut self, listener: tokio::net::TcpListener) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let Parts { intake, connections, stop, running, .. } =
            self.listener("dogstatsd-tcp", format!("tcp://{address}"), Some(address), None);
        let (tls, idle, limit) = (self.tls.clone(), self.settings.idle_timeout, self.limit());
        let budget = Arc::clone(&self.shared.budget);
        let tcp = Tcp { listener, tls, idle, intake, budget, connections, limit, stop };
        self.tasks.spawn(async move {
            tcp.read().await;
            drop(running);
            Ok(())
        });
        Ok(())
    }

    /// Readers share the socket; the last to end closes it and gives its name back.
    fn unixgram(
        &mut self,
        address: &str,
        socket: &std::os::unix::net::UnixDatagram,
        held: Option<Held>,
    ) -> anyhow::Result<()> {
        unixgram::prepare(socket, self.settings.read_buffer_bytes)?;
        let held = Arc::new(held);
        for _ in 0..self.settings.readers {
            let (socket, held) = (socket.try_clone()?, Arc::clone(&held));
            let Parts { intake, stop, running, .. } = self.listener("dogstatsd-unix", address.to_owned(), None, None);
            let max_length = self.settings.max_length;
            self.tasks.spawn(async move {
                // One without a name of ours is inherited, and whoever inherits it next reads on.
                let ours = held.is_some();
                let read = unixgram::read(socket, ours, max_length, intake, stop).await;
                drop((held, running));
                read.context("cannot read a Unix datagram socket")
            });
        }
        Ok(())
    }

    fn unix(
        &mut self,
        address: &str,
        listener: std::os::unix::net::UnixListener,
        held: Option<Held>,
    ) -> anyhow::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let Parts { intake, connections, stop, running, .. } =
            self.listener("dogstatsd-unix", address.to_owned(), None, None);
        let budget = Arc::clone(&self.shared.budget);
        let unix = Unix { listener, intake, budget, connections, limit: self.limit(), stop };
        self.tasks.spawn(async move {
            unix.read().await;
            drop((held, running));
            Ok(())
        });
        Ok(())
    }

    fn grpc(&mut self, url: &str) -> anyhow::Result<()> {
        let Listen::Tcp(family, address) = Listen::parse(url).map_err(anyhow::Error::msg)? else {
            anyhow::bail!("{url:?} must look like tcp://127.0.0.1:8181");
        };
        let listener = tcp::bind(family, resolve(family, &address)?)?;
        let address = listener.local_addr()?;
        let tls = tls::acceptor(&self.settings.tls, &[b"h2"])?;
        let Parts { intake, connections, stop, running, .. } =
            self.listener("dogstatsd-grpc", format!("tcp://{address}"), Some(address), None);
        let Settings { max_length, idle_timeout, .. } = *self.settings;
        let grpc =
            Grpc { listener, tls, max_length, handshake: idle_timeout, intake, connections, limit: self.limit(), stop };
        self.tasks.spawn(async move {
            let served = grpc.serve().await;
            drop(running);
            served.context("the DogStatsD gRPC server failed")
        });
        Ok(())
    }

    fn listener(
        &mut self,
        protocol: &'static str,
        address: String,
        socket: Option<SocketAddr>,
        inode: Option<u64>,
    ) -> Parts {
        tracing::info!(protocol, %address, "Listening");
        let account = Arc::new(IngestAccount::default());
        let intake = Arc::new(Intake::new(self.shared, Arc::clone(&account)));
        let connections = Arc::new(Connections::default());
        let stop = CancellationToken::new();
        let (running, ended) = watch::channel(());
        self.listeners.push(Listener {
            protocol,
            address,
            socket,
            account: Arc::clone(&account),
            connections: Arc::clone(&connections),
            intake: Arc::clone(&intake),
            inode,
            stop: stop.clone(),
            ended,
        });
        Parts { intake, account, connections, stop, running }
    }

    fn limit(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.settings.max_connections))
    }
}

/// Names this thread, for profiles and `top -H`. Where that is not allowed, it keeps its name.
fn name_thread(name: &str) {
    drop(std::fs::write("/proc/thread-self/comm", name));
}

/// The name of an inherited Unix socket, as far as it has one.
fn named(url: &str, address: io::Result<UnixAddress>) -> String {
    match address.ok().as_ref().and_then(UnixAddress::as_pathname) {
        Some(path) => format!("{url} ({})", path.display()),
        None => url.to_owned(),
    }
}
