//! Messages that the original's instances send, byte for byte.

use prost::Message as _;
use veneur_metric::{
    AlertType, Check, Context, Event, Kind, Partial, PartialValue, Priority, Scope, Stamp, Status, Tags,
};
use veneur_sketch::{HyperLogLog, RelativeSketch, TDigest};
use veneur_wire::{
    Item, decode, encode_check, encode_event, encode_partial,
    metricpb::{Metric, RelativeBins},
};

fn partial(name: &str, kind: Kind, scope: Scope, value: PartialValue) -> Partial {
    Partial { context: Context { name: name.into(), tags: Tags::none(), kind, scope }, value, stamp: None }
}

fn digest(values: &[f64]) -> PartialValue {
    let mut digest = TDigest::new();
    values.iter().for_each(|value| assert!(digest.insert(*value, 1.0)));
    PartialValue::Digest(digest)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[test]
fn partials_are_the_originals_bytes() {
    let mut set = HyperLogLog::new();
    set.insert(b"test");
    let vectors = [
        (
            partial("test.grpc.counter", Kind::Counter, Scope::Global, PartialValue::Counter(2.0)),
            "0a11746573742e677270632e636f756e7465722a0208024802",
        ),
        (
            partial("test.grpc.gauge", Kind::Gauge, Scope::Global, PartialValue::Gauge(1.0)),
            "0a0f746573742e677270632e67617567651801320909000000000000f03f4802",
        ),
        (
            partial("test.grpc.histogram", Kind::Histogram, Scope::Mixed, digest(&[20.0])),
            "0a13746573742e677270632e686973746f6772616d18023a3a0a380a1209000000000000344011000000000000f03f1100000000\
             00005940190000000000003440210000000000003440299a9999999999a93f",
        ),
        (
            partial("a.b.c", Kind::Histogram, Scope::Mixed, digest(&[1.0, 2.0, 7.0, 8.0, 100.0])),
            "0a05612e622e6318023a8b010a88010a1209000000000000f03f11000000000000f03f0a1209000000000000004011000000000\
             000f03f0a12090000000000001c4011000000000000f03f0a1209000000000000204011000000000000f03f0a120900000000000\
             0594011000000000000f03f11000000000000594019000000000000f03f21000000000000594029bb80d8541a72fc3f",
        ),
        (
            partial("test.grpc.set", Kind::Set, Scope::Mixed, PartialValue::Set(set)),
            "0a0d746573742e677270632e7365741803421a0a18010e000100000001034a1b54000000000000000000000000",
        ),
    ];
    for (partial, expected) in vectors {
        let name = partial.context.name.clone();
        assert_eq!(hex(&encode_partial(partial).encode_to_vec()), expected.replace(' ', ""), "{name}");
    }
}

#[test]
fn events_and_checks_have_golden_bytes_that_an_old_peer_finds_no_value_in() {
    let stamp = Stamp { boundary_ms: 20_000, interval_ms: 10_000 };
    let event = Event {
        title: "deploy".into(),
        text: "of api".into(),
        timestamp: Some(7),
        host: Some("h".into()),
        aggregation_key: Some("k".into()),
        priority: Priority::Low,
        source_type: Some("s".into()),
        alert_type: AlertType::Success,
        tags: Tags::new(["a:1"]),
    };
    let check = Check {
        name: "db".into(),
        status: Status::Critical,
        timestamp: Some(7),
        host: Some("h".into()),
        message: Some("gone".into()),
        tags: Tags::new(["a:1"]),
    };
    let metrics = [encode_event(event, stamp), encode_check(check, stamp)];
    assert!(metrics.iter().all(|metric| metric.value.is_none() && metric.pass_through && metric.scope == 1));
    assert_eq!(
        metrics.map(|metric| hex(&metric.encode_to_vec())),
        [
            "0a066465706c6f791203613a314801b2060708a09c0110904eb80601f206170a066f662061706910071a016822016b28013201733803",
            "0a0264621203613a314801b2060708a09c0110904eb80601fa060d080210071a01682204676f6e65",
        ]
    );
}

#[test]
fn an_integer_counter_needs_no_extension_and_a_fraction_does() {
    let encode = |total| encode_partial(partial("a", Kind::Counter, Scope::Global, PartialValue::Counter(total)));
    assert_eq!(encode(3.0).exact_counter, None);
    assert_eq!(encode(2.5).exact_counter, Some(2.5));
    let Ok(Item::Partial(back)) = decode(&encode(2.5)) else { panic!("a partial") };
    assert!(matches!(back.value, PartialValue::Counter(total) if total.to_bits() == 2.5_f64.to_bits()));
}

#[test]
fn a_hundred_values_of_relative_error_take_a_few_bytes_each() {
    let mut sketch = RelativeSketch::new();
    (1..=100).for_each(|n| assert!(sketch.insert(f64::from(n), 1.0)));
    let sent = encode_partial(partial("a", Kind::Timer, Scope::Mixed, PartialValue::Relative(Box::new(sketch))));
    assert_eq!(sent.value, None, "an old peer finds no value");
    assert!(sent.encoded_len() < 300, "{} bytes", sent.encoded_len());
    let refused = |change: fn(&mut RelativeBins)| {
        let mut sent = sent.clone();
        change(sent.relative.as_mut().and_then(|sketch| sketch.positive.as_mut()).expect("is there"));
        decode(&sent).expect_err("must be refused").reason()
    };
    assert_eq!(refused(|bins| bins.counts.truncate(3)), "bad_digest");
    assert_eq!(refused(|bins| bins.counts[0] = 0), "bad_digest");
    assert_eq!(refused(|bins| bins.gaps[0] = u32::MAX), "bad_digest");
    assert_eq!(refused(|bins| bins.weights.push(1.0)), "bad_digest");
    let mut twice = sent.clone();
    twice.value = encode_partial(partial("a", Kind::Timer, Scope::Mixed, digest(&[1.0]))).value;
    assert_eq!(decode(&twice).expect_err("two values").reason(), "type_mismatch");
}

#[test]
fn what_contradicts_itself_is_refused_with_a_reason() {
    let good = encode_partial(partial("a", Kind::Gauge, Scope::Global, PartialValue::Gauge(1.0)));
    let refused = |change: fn(&mut Metric)| {
        let mut metric = good.clone();
        change(&mut metric);
        decode(&metric).expect_err("must be refused").reason()
    };
    assert_eq!(refused(|metric| metric.name.clear()), "incomplete");
    assert_eq!(refused(|metric| metric.value = None), "incomplete");
    assert_eq!(refused(|metric| metric.r#type = 0), "type_mismatch");
    assert_eq!(refused(|metric| metric.r#type = 99), "type_mismatch");
    assert_eq!(refused(|metric| metric.scope = 1), "local_scope");
    assert_eq!(refused(|metric| metric.stamp = Some(veneur_wire::metricpb::Stamp::default())), "bad_stamp");
    assert_eq!(refused(|metric| metric.pass_through = true), "bad_stamp");
    assert_eq!(refused(|metric| metric.event = Some(Box::default())), "type_mismatch");
    let (unmarked, unstamped) = (
        |metric: &mut Metric| (metric.value, metric.check) = (None, Some(Box::default())),
        |metric: &mut Metric| {
            (metric.value, metric.check, metric.pass_through) = (None, Some(Box::default()), true);
        },
    );
    assert_eq!(refused(unmarked), "type_mismatch");
    assert_eq!(refused(unstamped), "bad_stamp");
    let nan = encode_partial(partial("a", Kind::Gauge, Scope::Global, PartialValue::Gauge(f64::NAN)));
    assert_eq!(decode(&nan).expect_err("not finite").reason(), "not_finite");
}
