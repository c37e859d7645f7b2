//! Datagrams that the kernel drops because nobody reads them: each is on the ledger, and nothing else is missing.

use serde_json::Value;

use super::{process::Process, *};

/// Datagrams sent while nobody reads: less than a core's queue of packets holds, where drops are no socket's.
const FLOOD: u64 = 600;

/// A receive buffer that takes a few of them, and two readers each of IPv4 and IPv6.
const CONFIG: &str = "interval: 1s\nstatsd_listen_addresses: ['udp://127.0.0.1:0', 'udp://[::1]:0']\nnum_readers: 2\n\
    read_buffer_size_bytes: 4096\nhttp_address: 127.0.0.1:0\nself_metrics: false\n";

/// Whether no thread of a process runs.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it exists");
    threads.filter_map(Result::ok).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

async fn status(http: SocketAddr) -> Value {
    serde_json::from_str(&get(Some(http), "/status").await.1).expect("JSON")
}

fn count(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn what_the_kernel_drops_and_what_is_read_are_all_that_was_sent() {
    let process = Process::start(&["local"], Some(CONFIG));
    let http = process.address("http=Some(").await;
    process.says("Running").await;
    let listeners = status(http).await["listeners"].clone();
    let mut ways: Vec<SocketAddr> = listeners.as_array().expect("a list").iter().filter_map(address).collect();
    // Both readers of an address have it.
    ways.dedup();
    assert_eq!(ways.len(), 2, "{listeners:#}");

    let mut sent = 0;
    for _ in 0..2 {
        process.signal("STOP");
        until("it is stopped", || is_stopped(process.id()).then_some(())).await;
        // From many sockets, so that both readers of an address have their part.
        for way in &ways {
            for _ in 0..FLOOD / 20 {
                let socket = UdpSocket::bind(if way.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).expect("loopback");
                for _ in 0..10 {
                    socket.send_to(b"flood.lines:1|c\nflood.more:1|c", way).expect("loopback takes it");
                    sent += 1;
                }
            }
        }
        process.signal("CONT");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            let status = status(http).await;
            if status["ledgers"]["datagrams"]["arrived"] == sent {
                break status;
            }
            assert!(Instant::now() < deadline, "{sent} were sent: {status:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let (datagrams, samples) = (&status["ledgers"]["datagrams"], &status["ledgers"]["samples"]);
        let (read, dropped) = (count(datagrams, "read"), count(datagrams, "kernel_dropped"));
        assert_eq!(read + dropped, sent, "{status:#}");
        assert_eq!((count(samples, "parsed"), count(samples, "aggregated")), (2 * read, 2 * read), "{status:#}");
        assert_eq!(status["unaccounted"], 0, "{status:#}");
        // A socket's buffer is a few kilobytes, so most are dropped.
        assert!(dropped > sent / 2, "{status:#}");
        let page = get(Some(http), "/metrics").await.1;
        assert!(page.contains(&format!("veneur_datagrams_kernel_dropped_total {dropped}\n")), "{page}");
    }
    let listeners = status(http).await["listeners"].clone();
    for listener in listeners.as_array().expect("a list") {
        let datagrams = &listener["ledger"]["datagrams"];
        assert!(count(datagrams, "read") > 0 && count(datagrams, "kernel_dropped") > 0, "{listener:#}");
    }
    process.says("The kernel drops no datagrams any more").await;
    assert!(process.times("The kernel drops datagrams: readers are too slow for them") > 0, "{}", process.log());
}

/// Where a listener of the status listens.
fn address(listener: &Value) -> Option<SocketAddr> {
    listener["address"].as_str()?.strip_prefix("udp://")?.parse().ok()
}
