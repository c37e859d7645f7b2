//! Cost of finding a key's owner: a proxy pays it for every metric.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use veneur_ring::{Algorithm, Key, Member, Ring};

fn owner(c: &mut Criterion) {
    for algorithm in [Algorithm::Rendezvous, Algorithm::Veneur] {
        let mut group = c.benchmark_group(format!("owner/{algorithm:?}"));
        let keys: Vec<Key> =
            (0..1024).map(|n| Key::new(algorithm, "svc.latency", "timer", &format!("pod:{n}"))).collect();
        for count in [3_u32, 10, 50, 500] {
            let member =
                |n: u32| Member { name: format!("global-{n}"), address: format!("10.0.{}.{}:8128", n / 200, n % 200) };
            let ring = Ring::new(algorithm, (0..count).map(member).collect());
            let mut next = keys.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| next.next().map(|key| black_box(ring.owner(black_box(*key)))));
            });
        }
        group.finish();
    }
}

fn key(c: &mut Criterion) {
    let mut group = c.benchmark_group("key");
    for algorithm in [Algorithm::Rendezvous, Algorithm::Veneur] {
        group.bench_function(format!("{algorithm:?}"), |bencher| {
            bencher.iter(|| {
                Key::new(
                    algorithm,
                    black_box("api.request.latency"),
                    "timer",
                    black_box("endpoint:/v1/charges,env:prod,service:checkout,status:200"),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, owner, key);
criterion_main!(benches);
