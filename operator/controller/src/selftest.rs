//! What `helm test` runs: in a pod with a sidecar, one sample goes in, and the same process is the backend that it has to
//! come out at.

use std::{
    io::Read as _,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::serve::{address, serve, text};

/// Between two questions.
const RETRY: Duration = Duration::from_secs(1);
/// Longest body that is read, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// Bodies that may wait to be looked at; more are refused, and sent again.
const BODIES: usize = 16;

/// One part of the test.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Selftest {
    /// Connect to each address until it answers.
    Await {
        /// `HOST:PORT`.
        #[arg(required = true)]
        addresses: Vec<String>,
        /// Give up after so many seconds.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Send one sample and wait until it is posted here, as to Datadog.
    Emit {
        /// Where a sidecar listens.
        #[arg(long, env = "STATSD_ADDR", default_value = "127.0.0.1:8125")]
        sidecar: String,
        /// Where the pipeline's sink posts to.
        #[arg(long, default_value = "0.0.0.0:8080", value_parser = address)]
        listen: SocketAddr,
        /// Give up after so many seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

impl Selftest {
    /// Does it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Await { addresses, seconds } => {
                for address in addresses {
                    ready(&address, Duration::from_secs(seconds)).await?;
                    println!("{address} is ready");
                }
                Ok(())
            }
            Self::Emit { sidecar, listen, seconds } => {
                let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
                let took = through(&sidecar, listener, Duration::from_secs(seconds)).await?;
                println!("one sample went in and came out after {:.1} s", took.as_secs_f64());
                Ok(())
            }
        }
    }
}

/// Only pods that are ready are behind a Service's address.
async fn ready(address: &str, patience: Duration) -> anyhow::Result<()> {
    let mut last = "was not asked".to_owned();
    let asking = async {
        loop {
            match timeout(RETRY, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => last = format!("does not answer ({error})"),
                Err(_) => "is silent".clone_into(&mut last),
            }
            sleep(RETRY).await;
        }
    };
    if timeout(patience, asking).await.is_err() {
        bail!("{address} {last} after {} s: kubectl get veneurpipelines -A says why", patience.as_secs());
    }
    Ok(())
}

/// Sends one sample to `sidecar` and waits for its series at `listener`; how long it took.
async fn through(sidecar: &str, listener: TcpListener, patience: Duration) -> anyhow::Result<Duration> {
    let (bodies, mut posted) = mpsc::channel::<Vec<u8>>(BODIES);
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    tasks.spawn(serve(listener, None, stop.clone(), move |request: Request<Incoming>| {
        let bodies = bodies.clone();
        async move {
            let body = Limited::new(request.into_body(), LONGEST).collect().await;
            let kept = body.is_ok_and(|body| bodies.try_send(body.to_bytes().to_vec()).is_ok());
            let status = if kept { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE };
            text(status, "{\"status\": \"ok\"}")
        }
    }));
    let begun = SystemTime::now();
    let run = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let socket = UdpSocket::bind("0.0.0.0:0").await.context("cannot open a socket")?;
    // Global: it passes through sidecar, proxy and global.
    let sample = format!("veneur.selftest:1|c|#run:{run},veneurglobalonly:true");
    let sent = socket.send_to(sample.as_bytes(), sidecar).await.with_context(|| format!("cannot send to {sidecar}"))?;
    ensure!(sent == sample.len(), "the sample was cut");
    let waiting = async {
        while let Some(body) = posted.recv().await {
            if value(&body, &format!("run:{run}")).is_some() {
                return;
            }
        }
    };
    let arrived = timeout(patience, waiting).await;
    stop.cancel();
    tasks.join_all().await;
    if arrived.is_err() {
        bail!(
            "the sample did not arrive within {} s: does this pod have a sidecar (annotation veneur.dev/skipped says why \
             not), and is its pipeline ready (kubectl get veneurpipelines -A)?",
            patience.as_secs()
        );
    }
    Ok(begun.elapsed().unwrap_or_default())
}

/// The value of the series of this run in a posted body.
fn value(body: &[u8], run: &str) -> Option<f64> {
    let mut text = Vec::new();
    flate2::read::ZlibDecoder::new(body).take(LONGEST as u64).read_to_end(&mut text).ok()?;
    let posted: Value = serde_json::from_slice(&text).ok()?;
    let ours = posted["series"].as_array()?.iter().find(|series| {
        let tagged = series["tags"].as_array().into_iter().flatten().any(|tag| tag == run);
        series["metric"] == "veneur.selftest" && tagged
    })?;
    ours["points"][0][1].as_f64()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn deflated(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_the_series_of_this_run_counts() {
        let series = r#"{"series":[{"metric":"veneur.selftest","points":[[1700000000,0.1]],"tags":["run:7"]}]}"#;
        assert_eq!(value(&deflated(series), "run:7"), Some(0.1));
        assert_eq!(value(&deflated(series), "run:8"), None);
        assert_eq!(value(b"no zlib", "run:7"), None);
    }

    #[tokio::test]
    async fn a_sample_that_never_arrives_is_told_with_the_next_step() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = through("127.0.0.1:9", listener, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("veneur.dev/skipped"), "{error}");
    }
}
