//! Listeners: sockets to samples to each reader's own table.
//!
//! A reader owns its socket and its table; nothing on the way of a sample is shared or locked but the reader's own
//! ledger, once a burst. At a flush the reader is asked for its table and goes on with an empty one.

mod drops;
mod udp;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use veneur_aggregate::{Rules, Table};
use veneur_config::Server;

use crate::account::IngestAccount;

/// What a reader is asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Its table; it goes on with an empty one.
    Collect(oneshot::Sender<Table>),
    /// Whatever its socket still holds, and then its table; it ends.
    Finish(oneshot::Sender<Table>),
}

/// A running reader.
#[derive(Debug)]
pub struct Reader {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it read.
    pub account: Arc<IngestAccount>,
    ask: mpsc::Sender<Ask>,
}

impl Reader {
    /// The table so far. A reader that has ended has none.
    pub(crate) async fn collect(&self) -> Table {
        self.ask(Ask::Collect).await
    }

    /// Everything its socket still holds, and the end of it.
    pub(crate) async fn finish(&self) -> Table {
        self.ask(Ask::Finish).await
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<Table>) -> Ask) -> Table {
        let (answer, table) = oneshot::channel();
        if self.ask.send(ask(answer)).await.is_err() {
            return Table::default();
        }
        table.await.unwrap_or_default()
    }
}

/// Binds every address of the configuration and starts its readers in `tasks`. A machine without IPv6 is no error as
/// long as one address can be bound.
pub fn start(
    server: &Server,
    rules: &Arc<Rules>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Vec<Reader>> {
    let mut readers = Vec::new();
    let mut missing = Vec::new();
    for url in &server.statsd_listen_addresses {
        match udp::bind(url, server.num_readers, server.read_buffer_size_bytes) {
            Ok(sockets) => {
                for socket in sockets {
                    let address = socket.local_addr().context("a bound socket has an address")?;
                    let account = Arc::new(IngestAccount::default());
                    let (ask, asked) = mpsc::channel(1);
                    tracing::info!(%address, "Listening for DogStatsD over UDP");
                    let reading =
                        udp::read(socket, server.metric_max_length, Arc::clone(rules), Arc::clone(&account), asked);
                    tasks.spawn(reading);
                    readers.push(Reader { address, account, ask });
                }
            }
            Err(error) if udp::no_such_family(&error) => missing.push((url, error)),
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {url}")),
        }
    }
    for (url, error) in missing {
        if readers.is_empty() {
            return Err(error).with_context(|| format!("cannot listen on {url}"));
        }
        tracing::info!(url, problem = %error, "Not listening there: this machine lacks the address family");
    }
    Ok(readers)
}
