//! What a sample costs from its bytes to its value, without the kernel: parsed, looked up, aggregated, flushed.

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use veneur_aggregate::{Aggregate, BATCH, Budget, Interval, Limits, Percentile, Publishing, Rules, Seed, Table};
use veneur_dogstatsd::{Item, context_tags, parse_datagram};
use veneur_metric::{Sample, Stamp};

/// Packets of 20 lines in which each of `contexts` comes once, in no order: 40 % counters, 20 % gauges, 30 % timers and
/// histograms, 10 % sets.
fn packets(contexts: usize) -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut lines: Vec<String> = (0..contexts)
        .map(|number| {
            let kind = ["c", "c", "c", "c", "g", "g", "ms", "h", "ms", "s"][number % 10];
            let mut line = format!("service.api.request.n{:04}:", number % 5_000);
            let value = random() % 1_000;
            match kind {
                "ms" | "h" => write!(line, "{value}.{}", random() % 100),
                "s" => write!(line, "user-{value}"),
                _ => write!(line, "{value}"),
            }
            .expect("memory takes all");
            let (zone, shard) = (number % 7, number / 5_000);
            write!(line, "|{kind}|#env:production,service:checkout-{number},zone:us-east-{zone},shard:{shard}")
                .expect("memory takes all");
            line
        })
        .collect();
    for at in (1..lines.len()).rev() {
        lines.swap(at, usize::try_from(random()).expect("64 bits") % (at + 1));
    }
    lines.chunks(20).map(|lines| lines.join("\n").into_bytes()).collect()
}

fn table() -> Table {
    let rules = Rules { idle_intervals: 6, ..Rules::default() };
    Table::new(Seed::FIXED, Arc::new(rules), Arc::new(Budget::new(Limits::default())))
}

fn read(sample: &Sample<'_>) -> (veneur_metric::Tags, veneur_metric::Scope) {
    let explicit = context_tags(sample.tags);
    (explicit.tags, explicit.scope)
}

fn ingest(table: &mut Table, packets: &[Vec<u8>]) {
    let (mut batch, mut filled) = ([Sample::NONE; BATCH], 0);
    for packet in packets {
        parse_datagram(packet, |outcome| {
            let Ok(Item::Sample(sample)) = outcome else { unreachable!("only samples are sent") };
            if filled == BATCH {
                table.insert(&batch, 0, 0, read);
                filled = 0;
            }
            batch[filled] = sample;
            filled += 1;
        });
    }
    table.insert(&batch[..filled], 0, 0, read);
}

fn parse_and_aggregate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingest");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for contexts in [1_000, 10_000, 200_000] {
        let packets = packets(contexts);
        group.throughput(Throughput::Elements(contexts as u64));
        group.bench_function(format!("parse_{contexts}"), |bencher| {
            bencher.iter(|| {
                for packet in &packets {
                    parse_datagram(packet, |outcome| {
                        black_box(&outcome);
                    });
                }
            });
        });
        group.bench_function(format!("known_{contexts}"), |bencher| {
            let mut table = table();
            let mut times = 0;
            bencher.iter(|| {
                ingest(&mut table, &packets);
                times += 1;
                if times % 400 == 0 {
                    drop(table.take());
                }
            });
        });
        group.bench_function(format!("new_{contexts}"), |bencher| {
            bencher.iter_batched_ref(table, |table| ingest(table, &packets), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let publishing = Publishing {
        forwards: false,
        percentiles: [0.5, 0.75, 0.99].map(Percentile::new).to_vec(),
        aggregates: vec![Aggregate::Min, Aggregate::Max, Aggregate::Count],
    };
    let contexts = 100_000;
    let packets = packets(contexts);
    group.throughput(Throughput::Elements(contexts as u64));
    group.bench_function(format!("global_{contexts}"), |bencher| {
        let mut table = table();
        bencher.iter_batched(
            || {
                (0..10).for_each(|_| ingest(&mut table, &packets));
                let mut interval = Interval::new(Seed::FIXED);
                interval.absorb(table.take());
                interval
            },
            |interval| {
                let stamp = Stamp { boundary_ms: 10_000, interval_ms: 10_000 };
                interval.flush(&publishing, Some(stamp), 10, Duration::from_secs(10), |part| drop(black_box(part)));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, parse_and_aggregate, flush);
criterion_main!(benches);
