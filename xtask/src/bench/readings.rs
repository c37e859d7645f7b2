//! What the system says of a process and of a socket.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// On-CPU time of a process, user and system, all threads, also of those that have ended (`clock_getcpuclockid(3)`).
/// The scheduler's own sum, in nanoseconds.
pub(crate) fn cpu(pid: i32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).with_context(|| format!("process {pid} has ended"))?;
    Ok(Duration::from(clock.now().with_context(|| format!("cannot read the CPU clock of process {pid}"))?))
}

/// Bytes that a process has in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Now (`VmRSS`).
    pub(crate) resident: u64,
    /// At most so far (`VmHWM`).
    pub(crate) peak: u64,
}

/// Reads both from `/proc/PID/status`.
pub(crate) fn memory(pid: i32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} {path}"));
        let kibibytes: u64 = line?.trim().trim_end_matches(" kB").parse()?;
        Ok::<_, anyhow::Error>(kibibytes * 1024)
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// A UDP socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UdpSocket {
    /// Bytes that wait to be read.
    pub(crate) waiting: u64,
    /// Datagrams dropped because its buffer was full.
    pub(crate) dropped: u64,
}

/// The IPv4 socket that is bound to this port.
pub(crate) fn udp_socket(port: u16) -> Option<UdpSocket> {
    find(&fs::read_to_string("/proc/net/udp").ok()?, port)
}

/// Fields of a row: 1 is `ADDRESS:PORT`, 4 `SENDING:WAITING`, the last one is the drops; all but that hexadecimal.
fn find(table: &str, port: u16) -> Option<UdpSocket> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        let waiting = u64::from_str_radix(fields.get(4)?.rsplit_once(':')?.1, 16).ok()?;
        (own == port).then_some(UdpSocket { waiting, dropped: fields.last()?.parse().ok()? })
    })
}

/// One line about this machine: figures are nothing without it.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |pair| pair.1);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "{cores} cores, {model}, Linux {}; load average before the run {load}: what others run here is in the figures",
        kernel.trim()
    )
}

/// CPU time that all processes have used, in hundredths of a second (proc(5), `/proc/stat`: user, nice, system, and
/// from the sixth on interrupts; idle and waiting are left out).
pub(crate) fn busy() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    [0, 1, 2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
             97: 0100007F:1FBE 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 42 2 0000000000000000 17\n";
        assert_eq!(find(table, 8126), Some(UdpSocket { waiting: 768, dropped: 17 }));
        assert_eq!(find(table, 8125), None);
    }

    #[test]
    fn the_own_process_has_used_time_and_memory() {
        let own = i32::try_from(std::process::id()).expect("pids fit");
        assert!(cpu(own).expect("readable") > Duration::ZERO);
        let memory = memory(own).expect("readable");
        assert!(memory.peak >= memory.resident && memory.resident > 0);
    }
}
