//! A proxy or global, ours or the original's, started alike.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::receiver::{free_udp_port, write_configuration};
use super::super::{Cgroup, Kind, Place, Programs, Receiver, free_tcp_port};

/// The settings by which locals and globals of both publish.
const PUBLISHING: &str =
    "synchronize_with_interval: true\naggregates: [min, max, count]\npercentiles: [0.5, 0.75, 0.99]\n";

/// Bytes that may wait here for somebody: enough for a whole flush of any bench.
const BUFFER_BYTES: usize = 256 << 20;

/// Bytes of values that a global may hold: a million digests of 100 centroids, and as much again.
const STATE_BYTES: usize = 6 << 30;

/// A running process, and where it imports.
pub(crate) struct Tier {
    pub(crate) process: Receiver,
    /// Over gRPC.
    pub(crate) grpc: u16,
    /// Over HTTP.
    pub(super) http: u16,
}

impl Tier {
    /// A proxy of one member, which imports over gRPC and HTTP at `to`. What comes in over HTTP, the original gives out so
    /// too; ours speaks dialect C to its members, whatever it is spoken to.
    pub(super) fn proxy(kind: Kind, programs: &Programs, to: u16) -> Result<Self> {
        let (grpc, http) = (free_tcp_port()?, free_tcp_port()?);
        let listens = listens(grpc, http);
        if kind == Kind::Original {
            let stats = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = stats.local_addr()?;
            let text = format!(
                "{listens}grpc_forward_address: \"127.0.0.1:{to}\"\nforward_address: \"http://127.0.0.1:{to}\"\nforward_timeout: 10s\nstats_address: \"{address}\"\n\
                 ssf_destination_address: \"udp://{address}\"\nruntime_metrics_interval: 10s\nidle_connection_timeout: 90s\n\
                 max_idle_conns: 100\nmax_idle_conns_per_host: 100\ntracing_client_capacity: 1024\n\
                 tracing_client_flush_interval: 500ms\ntracing_client_metrics_interval: 1s\n"
            );
            return start(&programs.original_proxy, &[], "original-proxy", &text, grpc, http, Some(stats));
        }
        // What goes in has to come out, and nothing else.
        let text = format!(
            "{listens}self_metrics: false\nforward_addresses: [\"127.0.0.1:{to}\"]\nbuffer_max_bytes: {BUFFER_BYTES}\n"
        );
        start(&programs.ours, &["proxy"], "proxy", &text, grpc, http, None)
    }

    /// A proxy of ours with limits of its own.
    pub(crate) fn proxy_in(programs: &Programs, to: u16, cgroup: &Cgroup) -> Result<Self> {
        let (grpc, http) = (free_tcp_port()?, free_tcp_port()?);
        let text = format!(
            "{}interval: 1s\nself_metrics: false\nforward_addresses: [\"127.0.0.1:{to}\"]\n",
            listens(grpc, http)
        );
        let mut command = Command::new(&programs.ours);
        command.args(["proxy", "-f", &write_configuration("proxy", &text)?]).env("VENEUR_LOG", "warn");
        let place = Place { cgroup: Some(cgroup), ..Place::default() };
        Ok(Self { process: Receiver::spawn(&command, place, 0, Some((http, "/healthcheck")), None)?, grpc, http })
    }

    /// A global that flushes at boundaries of `interval` seconds, to nowhere.
    pub(crate) fn global(kind: Kind, programs: &Programs, interval: u32) -> Result<Self> {
        let (grpc, http) = (free_tcp_port()?, free_tcp_port()?);
        let common = format!("{}interval: {interval}s\n{PUBLISHING}", listens(grpc, http));
        if kind == Kind::Original {
            let stats = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            // Without sinks it makes the points and drops them.
            let text = format!("{common}num_workers: 1\nstats_address: \"{}\"\n", stats.local_addr()?);
            return start(&programs.original, &[], "original-global", &text, grpc, http, Some(stats));
        }
        let text =
            format!("{common}max_state_bytes: {STATE_BYTES}\nmetric_sinks: [{{name: blackhole, kind: blackhole}}]\n");
        start(&programs.ours, &["global"], "global", &text, grpc, http, None)
    }

    /// A local of ours that forwards to `to`.
    pub(super) fn local(programs: &Programs, interval: u32, to: u16) -> Result<Receiver> {
        Self::local_holding(programs, interval, to, BUFFER_BYTES)
    }

    /// The same, with so many bytes that may wait for `to`.
    pub(crate) fn local_holding(programs: &Programs, interval: u32, to: u16, bytes: usize) -> Result<Receiver> {
        let (udp, http) = (free_udp_port()?, free_tcp_port()?);
        let text = format!(
            "http_address: \"127.0.0.1:{http}\"\ninterval: {interval}s\n{PUBLISHING}num_readers: 1\n\
             read_buffer_size_bytes: {}\nstatsd_listen_addresses: [\"udp://127.0.0.1:{udp}\"]\n\
             forward_address: \"127.0.0.1:{to}\"\nbuffer_max_bytes: {bytes}\n\
             metric_sinks: [{{name: blackhole, kind: blackhole}}]\n",
            4 << 20
        );
        let mut command = Command::new(&programs.ours);
        command.args(["local", "-f", &write_configuration("local", &text)?]).env("VENEUR_LOG", "warn");
        Receiver::spawn(&command, Place::default(), udp, Some((http, "/ready")), None)
    }
}

fn listens(grpc: u16, http: u16) -> String {
    format!("grpc_address: \"127.0.0.1:{grpc}\"\nhttp_address: \"127.0.0.1:{http}\"\n")
}

fn start(
    program: &Path,
    role: &[&str],
    name: &str,
    text: &str,
    grpc: u16,
    http: u16,
    stats: Option<UdpSocket>,
) -> Result<Tier> {
    let mut command = Command::new(program);
    command.args(role).args(["-f", &write_configuration(name, text)?]).env("VENEUR_LOG", "warn");
    let process = Receiver::spawn(&command, Place::default(), 0, Some((http, "/healthcheck")), stats)
        .with_context(|| format!("cannot start {name}"))?;
    Ok(Tier { process, grpc, http })
}
