//! The intake as a process: `veneur-intake [ADDRESS]`, on `0.0.0.0:8080` unless told otherwise.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use veneur_intake::Intake;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(&address).await.with_context(|| format!("cannot listen on {address}"))?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        served = Arc::new(Intake::default()).serve(listener) => Ok(served?),
        _ = terminate.recv() => Ok(()),
    }
}
