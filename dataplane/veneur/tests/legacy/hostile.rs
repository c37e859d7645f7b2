//! A hundred and more imports as a broken or hostile peer makes them, most beside a good metric.

use prost::Message as _;
use veneur_forward::{
    Batch, Facts,
    client::{Client, Outcome},
};
use veneur_metric::PartialValue;
use veneur_sketch::{HyperLogLog, TDigest};
use veneur_wire::{
    forwardrpc::MetricList,
    legacy,
    metricpb::{GaugeValue, HistogramValue, SetValue, Stamp, metric::Value},
    tdigest::{Centroid, MergingDigestData},
};

use super::*;

/// More memory than that at any time means that something was allocated by a number in an import.
const MOST_MEMORY_KIB: u64 = 512 * 1024;

fn partial(kind: Kind, value: PartialValue) -> Metric {
    let context = Context { name: "bad".into(), tags: Tags::none(), kind, scope: Scope::Mixed };
    encode_partial(Partial { context, value, stamp: None })
}

fn timer() -> Metric {
    let mut digest = TDigest::new();
    (0..10).for_each(|n| assert!(digest.insert(f64::from(n), 1.0)));
    partial(Kind::Timer, PartialValue::Digest(digest))
}

fn with(mut metric: Metric, change: impl FnOnce(&mut Metric)) -> Metric {
    change(&mut metric);
    metric
}

fn gauge(value: f64) -> Metric {
    with(counter("bad"), |metric| (metric.r#type, metric.value) = (1, Some(Value::Gauge(GaugeValue { value }))))
}

fn digest(change: impl FnOnce(&mut MergingDigestData)) -> Metric {
    with(timer(), |metric| {
        if let Some(Value::Histogram(HistogramValue { t_digest: Some(digest) })) = &mut metric.value {
            change(digest);
        }
    })
}

fn set(payload: &[u8]) -> Metric {
    let value = Some(Value::Set(SetValue { hyper_log_log: payload.to_vec() }));
    with(partial(Kind::Set, PartialValue::Set(HyperLogLog::new())), |metric| metric.value = value)
}

/// Metrics that are well-formed messages, and wrong.
fn metrics() -> Vec<Metric> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let kind = |metric: Metric, kind| with(metric, |metric| metric.r#type = kind);
    let mut bad = vec![
        with(counter("bad"), |metric| metric.name.clear()),
        with(counter("bad"), |metric| metric.value = None),
        with(counter("bad"), |metric| metric.scope = 99),
        with(counter("bad"), |metric| metric.scope = 1),
        with(counter("bad"), |metric| metric.exact_counter = Some(nan)),
        with(counter("bad"), |metric| metric.exact_counter = Some(-inf)),
        with(counter("bad"), |metric| metric.stamp = Some(Stamp { boundary_ms: u64::MAX, interval_ms: 1_000 })),
        with(counter("bad"), |metric| metric.stamp = Some(Stamp { boundary_ms: 1_000, interval_ms: 0 })),
        with(counter("bad"), |metric| metric.pass_through = true),
        with(counter("bad"), |metric| metric.event = Some(Box::default())),
        with(counter("bad"), |metric| metric.check = Some(Box::default())),
        with(timer(), |metric| metric.relative = Some(veneur_wire::metricpb::RelativeValue::default())),
        with(timer(), |metric| metric.value = Some(Value::Histogram(HistogramValue { t_digest: None }))),
        gauge(nan),
        gauge(inf),
        gauge(-inf),
        digest(|digest| (digest.min, digest.max) = (nan, nan)),
        digest(|digest| digest.max = inf),
        digest(|digest| digest.min = -inf),
        digest(|digest| (digest.min, digest.max) = (9.0, 0.0)),
        digest(|digest| digest.max = 3.0),
        digest(|digest| digest.main_centroids = vec![Centroid { mean: 1.0, weight: 1.0, samples: Vec::new() }; 10_001]),
        set(&[]),
        set(&[1, 14, 0]),
        set(&[1, 14, 0, 1]),
        set(&[1, 18, 0, 0, 0, 2, 0, 0]),
        set(&[1, 14, 0, 7, 0, 0, 0, 0]),
        set(&[1, 14, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]),
        set(&[1, 14, 0, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0]),
        set(&[1, 14, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 5]),
        set(&[1, 14, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 6, 255, 255, 255, 255, 255, 255]),
        set(&[1, 14, 0, 0, 0, 0, 0x20, 0]),
        set(&[1, 14, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
        set(&[&[1, 14, 255, 0, 0, 0, 0x20, 0][..], &[0xFF; 8_192]].concat()),
        set(&[&[1, 14, 0, 0, 0, 0, 0x20, 0][..], &[0; 8_193]].concat()),
        with(partial(Kind::Set, PartialValue::Set(HyperLogLog::new())), |set| set.saturated_registers = vec![u32::MAX]),
    ];
    bad.extend([-1, 5, 99, i32::MAX].map(|number| kind(counter("bad"), number)));
    bad.extend([1, 2, 3, 4].map(|number| kind(counter("bad"), number)));
    bad.extend([0, 2, 3, 4].map(|number| kind(gauge(1.0), number)));
    bad.extend([0, 1, 3].map(|number| kind(timer(), number)));
    for compression in [nan, inf, 0.0, -100.0, 1e18] {
        bad.push(digest(|digest| digest.compression = compression));
    }
    for mean in [nan, inf, -inf, 1e9] {
        bad.push(digest(|digest| digest.main_centroids[3].mean = mean));
    }
    for weight in [nan, inf, 0.0, -1.0, -1e300, 1e300] {
        bad.push(digest(|digest| digest.main_centroids[3].weight = weight));
    }
    bad
}

/// Entries of a body that are wrong, as text.
fn entries() -> Vec<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let entry =
        |kind: &str, value: &[u8]| format!(r#"{{"name":"bad","type":"{kind}","value":"{}"}}"#, STANDARD.encode(value));
    let good = legacy::write([&timer()]);
    let text = String::from_utf8(good).expect("JSON");
    let (_, value) = text.split_once(r#""value":""#).expect("a value");
    let gob = STANDARD.decode(value.trim_end_matches("\"}]")).expect("base64");
    let mut bad: Vec<String> = [0, 1, 10, 13, 14, 40, 68, 95, 100, gob.len() - 40, gob.len() - 20, gob.len() - 1]
        .map(|end| entry("timer", &gob[..end]))
        .into();
    let changed = |place: usize, byte: u8| {
        let mut gob = gob.clone();
        gob[place] = byte;
        entry("timer", &gob)
    };
    // A length, a type's number, a count of fields, an element's type.
    bad.extend(
        [(0, 0xF8), (0, 0x7F), (1, 0x80), (2, 0x88), (4, 9), (10, 0x88), (20, 0x7F), (33, 0x7F)]
            .map(|(p, b)| changed(p, b)),
    );
    bad.push(entry("timer", &[gob.clone(), vec![0]].concat()));
    bad.push(entry("timer", &[0xFF; 64]));
    bad.push(entry("timer", &[0xF8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]));
    bad.extend([entry("counter", &[1; 7]), entry("counter", &[1; 9]), entry("gauge", &[]), entry("gauge", &[1; 16])]);
    bad.extend([entry("counter", &gob), entry("timer", &[0; 8]), entry("status", &[0; 8]), entry("set", &[0; 8])]);
    bad.push(entry("gauge", &f64::NAN.to_le_bytes()));
    bad.push(entry("gauge", &f64::INFINITY.to_le_bytes()));
    bad.extend(
        [
            "{}",
            "null",
            "7",
            "true",
            r#""x""#,
            "[]",
            r#"{"name":"bad"}"#,
            r#"{"name":7,"type":"gauge"}"#,
            r#"{"name":"bad","type":"gauge","value":"not base64"}"#,
            r#"{"name":"","type":"gauge","value":"AAAAAAAA8D8="}"#,
            r#"{"name":"bad","type":["gauge"],"value":"AAAAAAAA8D8="}"#,
        ]
        .iter()
        .map(|text| (*text).to_owned()),
    );
    // What is wrong with the others does not travel.
    let travels = |metric: &&Metric| {
        metric.exact_counter.is_none() && metric.stamp.is_none() && metric.saturated_registers.is_empty()
    };
    for wrong in metrics().iter().filter(|metric| legacy::carries(metric)).filter(travels) {
        let body = String::from_utf8(legacy::write([wrong])).expect("JSON");
        bad.push(body[1..body.len() - 1].to_owned());
    }
    bad
}

/// Bodies of which nothing can be used.
fn bodies() -> Vec<(Option<&'static str>, Vec<u8>)> {
    let good = legacy::write([&counter("never")]);
    let zlib = deflated(&good);
    let mut flipped = zlib.clone();
    *flipped.last_mut().expect("a checksum") ^= 1;
    let bomb = deflated(&vec![b' '; 130 * 1024 * 1024]);
    let list = deflated(&[b"[".as_slice(), &b"{},".repeat(1_000_000), b"{}]"].concat());
    let deep = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
    vec![
        (None, Vec::new()),
        (None, b"{".to_vec()),
        (None, b"{}".to_vec()),
        (None, b"[]".to_vec()),
        (None, b"[{},{},null]".to_vec()),
        (None, good[..good.len() - 1].to_vec()),
        (None, [good.as_slice(), b"]"].concat()),
        (None, b"\xFF\xFE[".to_vec()),
        (None, br#"[{"name":"never","type":"gauge","value":"\ud800"}]"#.to_vec()),
        (None, zlib.clone()),
        (None, deep),
        (None, vec![b'['; 17 * 1024 * 1024]),
        (Some("deflate"), Vec::new()),
        (Some("deflate"), good.clone()),
        (Some("deflate"), zlib[..zlib.len() / 2].to_vec()),
        (Some("deflate"), zlib[2..].to_vec()),
        (Some("deflate"), flipped),
        (Some("deflate"), bomb),
        (Some("deflate"), list),
        (Some("gzip"), zlib.clone()),
        (Some("deflate, deflate"), deflated(&zlib)),
        (Some("br"), good),
    ]
}

/// Messages that are none, or far more than they look.
fn messages() -> Vec<Vec<u8>> {
    let good = MetricList { metrics: vec![counter("never")] }.encode_to_vec();
    let histogram = digest(|digest| digest.main_centroids = vec![Centroid::default(); 700_000]);
    vec![
        good[..good.len() - 1].to_vec(),
        vec![0xFF; 100],
        vec![0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F],
        vec![0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        vec![0x0B; 1_000],
        [0x0A, 0x00].repeat(1_000_000),
        [0x0A, 0x00].repeat(4_000_000),
        [0x12, 0x00].repeat(1_000_000),
        MetricList { metrics: vec![histogram.clone()] }.encode_to_vec(),
        histogram.encode_to_vec(),
    ]
}

async fn sends(to: &str, metrics: Vec<Metric>) -> u64 {
    let batch = Batch::split(metrics, Facts::default).remove(0);
    let outcome = Client::new(to).send(batch).await.outcome;
    assert!(matches!(outcome, Outcome::Acknowledged(_)), "{outcome:?}");
    if let Outcome::Acknowledged(count) = outcome { count } else { 0 }
}

/// Does its worst to whoever imports there, and says how many good metrics went beside how many wrong imports.
async fn harm(grpc: &str, http: Option<SocketAddr>) -> (u64, u64) {
    let (mut good, mut wrong) = (0, 0);
    for to in [grpc.to_owned(), format!("grpc+unary://{grpc}")] {
        for bad in metrics() {
            assert_eq!(sends(&to, vec![bad, counter("good")]).await, 2);
            (good, wrong) = (good + 1, wrong + 1);
        }
    }
    for bad in entries() {
        let beside = String::from_utf8(legacy::write([&counter("good")])).expect("JSON");
        let body = format!("[{bad},{}", &beside[1..]);
        let (status, answer) = post(http, Some("deflate"), &deflated(body.as_bytes())).await;
        assert_eq!(status, 202, "{bad}: {answer}");
        (good, wrong) = (good + 1, wrong + 1);
    }
    for (encoding, body) in bodies() {
        let (status, answer) = post(http, encoding, &body).await;
        assert!([400, 413, 415].contains(&status), "{encoding:?} {}: {status} {answer}", body.len());
        wrong += 1;
    }
    for message in messages() {
        for method in ["SendMetrics", "SendMetricsV2"] {
            drop(raw::call(grpc, method, vec![message.clone()]).await);
            wrong += 1;
        }
    }
    assert!(wrong > 200, "{wrong} cases");

    // It still answers, in all three.
    assert_eq!(sends(grpc, vec![counter("good")]).await, 1);
    assert_eq!(sends(&format!("grpc+unary://{grpc}"), vec![counter("good")]).await, 1);
    assert_eq!(post(http, None, &legacy::write([&counter("good")])).await.0, 202);
    (good + 3, wrong)
}

fn assert_good_alone_is_published(intake: &Intake, good: u64) {
    let received = intake.received();
    assert!((total(&received, "good") - good as f64).abs() < 1e-6, "{received:#?}");
    assert!(received.iter().all(|point| point.metric == "good"), "{received:#?}");
}

/// One after the other: what is measured is the memory of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_imports_are_refused_alone_and_never_end_the_process() {
    let Tier { intake, global, _intake } = tier().await;
    let (good, wrong) = harm(&global.grpc.expect("imports").to_string(), global.http).await;
    let ledger = global.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.merged), (0, good), "{ledger:?}");
    assert_good_alone_is_published(&intake, good);

    let Tier { intake, global, _intake } = tier().await;
    let config = Proxy {
        grpc_address: "127.0.0.1:0".into(),
        http_address: "127.0.0.1:0".into(),
        interval: Every::seconds(1),
        self_metrics: false,
        forward_addresses: vec![global.grpc.expect("imports").to_string()],
        ..Proxy::default()
    };
    let proxy = proxy::start(&config).await.expect("a proxy starts");
    let (beside, more) = harm(&proxy.grpc.to_string(), proxy.http).await;
    let at_proxy = proxy.stop().await;
    assert_eq!((at_proxy.unaccounted(), at_proxy.uncertain), (0, 0), "{at_proxy:?}");
    let ledger = global.stop().await;
    assert_eq!((ledger.unaccounted(), ledger.imported), (0, at_proxy.acknowledged), "{ledger:?}");
    assert_eq!(ledger.merged, beside, "{ledger:?}");
    assert_good_alone_is_published(&intake, beside);

    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.expect("a peak");
    println!(
        "{} wrong imports, {} good ones beside them, {} MiB at the most",
        wrong + more,
        good + beside,
        peak / 1024
    );
    assert!(peak < MOST_MEMORY_KIB, "{peak} KiB");
}
