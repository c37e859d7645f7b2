//! How tiers speak to each other, by the configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use veneur_config::{ForwardTls, GrpcServer, ListenTls};
use veneur_forward::{
    import,
    tls::{Guard, Identity, Pem, Trust},
};

/// TLS towards those that are sent to; `None`: plain text.
pub(crate) fn trust(tls: &ForwardTls) -> anyhow::Result<Option<Trust>> {
    let authority = match (tls.ca.is_empty(), tls.ca_file.is_empty()) {
        (true, true) => return Ok(None),
        (false, _) => Pem::Text(tls.ca.clone()),
        (true, false) => Pem::File(PathBuf::from(&tls.ca_file)),
    };
    let identity = identity(&tls.cert_file, &tls.key_file);
    let name = Some(tls.server_name.clone()).filter(|name| !name.is_empty());
    Trust::new(authority, identity, name).context("forward_tls cannot be used").map(Some)
}

/// TLS towards those that send; `None`: plain text.
pub(crate) fn guard(tls: &ListenTls, key: &str) -> anyhow::Result<Option<Arc<Guard>>> {
    let Some(identity) = identity(&tls.cert_file, &tls.key_file) else { return Ok(None) };
    let authority = Some(&tls.ca_file).filter(|file| !file.is_empty()).map(|file| Pem::File(PathBuf::from(file)));
    let guard = Guard::new(identity, authority).with_context(|| format!("{key} cannot be used"))?;
    Ok(Some(Arc::new(guard)))
}

/// How imports are served, but for TLS.
pub(crate) fn serving(server: &GrpcServer) -> import::Settings {
    let asked = !server.keepalive_timeout.0.is_zero() && !server.ping_timeout.0.is_zero();
    import::Settings {
        max_connections: server.max_connections,
        max_streams: server.max_streams,
        handshake_timeout: or(server.connection_timeout.0, import::Settings::default().handshake_timeout),
        max_connection_age: server.max_connection_age.0,
        max_connection_age_grace: server.max_connection_age_grace.0,
        keep_alive: asked.then_some((server.ping_timeout.0, server.keepalive_timeout.0)),
        ..import::Settings::default()
    }
}

fn identity(certificate: &str, key: &str) -> Option<Identity> {
    let given = !certificate.is_empty() && !key.is_empty();
    given.then(|| Identity { certificate: certificate.into(), key: key.into() })
}

fn or(time: Duration, default: Duration) -> Duration {
    if time.is_zero() { default } else { time }
}
