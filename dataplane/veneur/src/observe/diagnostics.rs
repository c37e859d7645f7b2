//! The process itself: memory, threads, age. Names are the original's where the thing exists without a Go runtime.

use std::time::Duration;

use super::lines::Lines;

/// Lines of `/proc/self/status`, in KiB, and what they are reported as.
const MEMORY: [(&str, &str); 5] = [
    ("VmRSS:", "mem.sys_bytes"),
    ("RssAnon:", "mem.heap_inuse_bytes"),
    ("VmData:", "mem.heap_sys_bytes"),
    ("VmStk:", "mem.stack_sys_bytes"),
    ("VmSwap:", "mem.swapped_bytes"),
];

/// `elapsed`: since the last report.
pub(super) fn write(lines: &mut Lines<'_>, elapsed: Duration) {
    lines.dense("uptime_ms", u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX), &[]);
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    for (name, bytes) in memory(&status) {
        lines.gauge(name, bytes, &[]);
    }
    if let Some(threads) = number(&status, "Threads:") {
        lines.gauge("threads_count", threads, &[]);
    }
}

fn memory(status: &str) -> impl Iterator<Item = (&'static str, u64)> {
    MEMORY.into_iter().filter_map(move |(line, name)| Some((name, number(status, line)? * 1_024)))
}

fn number(status: &str, line: &str) -> Option<u64> {
    let rest = status.lines().find_map(|candidate| candidate.strip_prefix(line))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tveneur\nVmRSS:\t    6144 kB\nVmStk:\t     132 kB\nThreads:\t7\n";
        let found: Vec<_> = memory(status).collect();
        assert_eq!(found, [("mem.sys_bytes", 6_291_456), ("mem.stack_sys_bytes", 135_168)]);
        assert_eq!(number(status, "Threads:"), Some(7));
    }
}
