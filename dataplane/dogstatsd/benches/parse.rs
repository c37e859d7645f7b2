//! Speed of the parser: time per line is what a reader's throughput hangs on.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use veneur_dogstatsd::{Item, Refused, parse_datagram};

const LINES: [&str; 5] = [
    "api.request.latency:12.73|ms|@0.5|#env:prod,service:checkout,endpoint:/v1/charges,status:200",
    "api.request.count:1|c|#env:prod,service:checkout,status:200|c:ci-2f0a9c1b7d,in-4026531840|e:pu-1b2c",
    "queue.depth:4711|g|#env:prod,queue:webhooks",
    "cache.hit:1:0:1:1:0:1|h|#env:prod,veneurlocalonly",
    "users.unique:8e1f0c77-91d2|s|#env:prod,veneurglobalonly",
];

fn datagram(lines: usize) -> String {
    LINES.iter().copied().cycle().take(lines).collect::<Vec<_>>().join("\n")
}

/// Keeps the optimiser from dropping what nobody reads.
fn sink(outcome: &Result<Item<'_>, Refused>) {
    black_box(outcome);
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for lines in [1, 20] {
        let datagram = datagram(lines);
        group.throughput(Throughput::Elements(lines as u64));
        group.bench_function(format!("{lines}_lines"), |bencher| {
            bencher.iter(|| parse_datagram(black_box(datagram.as_bytes()), |outcome| sink(&outcome)));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
