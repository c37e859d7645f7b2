//! Bodies of the original's `POST /import`: its own bytes, ours, and what is neither.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use prost::Message as _;
use veneur_metric::{Context, Kind, Partial, PartialValue, Scope, Tags};
use veneur_sketch::{HyperLogLog, TDigest};
use veneur_wire::{
    Item, decode, encode_partial,
    legacy::{self, GobError, Refused, carries, read_gob},
    metricpb::{HistogramValue, Metric, metric::Value},
    tdigest::MergingDigestData,
};

fn read(body: &[u8]) -> Vec<Result<Metric, Refused>> {
    let mut entries = Vec::new();
    let metric = |message: &[u8]| Metric::decode(message).expect("the bytes of a metric");
    legacy::read(body, |entry| entries.push(entry.map(metric))).expect("a body");
    entries
}

fn partial(kind: Kind, scope: Scope, tags: &[&str], value: PartialValue) -> Metric {
    let context = Context { name: "a.b.c".into(), tags: Tags::new(tags.iter().copied()), kind, scope };
    encode_partial(Partial { context, value, stamp: None })
}

fn digest_of(values: &[f64]) -> PartialValue {
    let mut digest = TDigest::new();
    values.iter().for_each(|value| assert!(digest.insert(*value, 1.0)));
    PartialValue::Digest(digest)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits")).collect()
}

/// What 14.2.0 forwards for 1, 2, 7, 8 and 100: of its own fixture, which knows no sum of reciprocals.
const FOUR_VALUES: &str = "0dff87020102ff880001ff84000037ff830301010843656e74726f696401ff8400010301044d65616e0108000106\
     576569676874010800010753616d706c657301ff8600000017ff85020101095b5d666c6f6174363401ff8600010800002fff88000501fef03f01\
     fef03f00014001fef03f0001fe1c4001fef03f0001fe204001fef03f0001fe594001fef03f00050800fe5940050800fef03f050800fe5940";

#[test]
fn the_originals_fixture_is_read_and_written_byte_for_byte() {
    let mut read = read_gob(&bytes(FOUR_VALUES)).expect("the original's");
    let means: Vec<f64> = read.main_centroids.iter().map(|centroid| centroid.mean).collect();
    assert_eq!(means, [1.0, 2.0, 7.0, 8.0, 100.0]);
    assert!(read.main_centroids.iter().all(|centroid| centroid.weight.to_bits() == 1_f64.to_bits()));
    let others = [read.compression, read.min, read.max, read.reciprocal_sum];
    assert_eq!(others.map(f64::to_bits), [100.0, 1.0, 100.0, 0.0_f64].map(f64::to_bits));

    // Ours ends with the fifth value, as that of every version since.
    read.reciprocal_sum = 0.5;
    let body = legacy::write([&partial_of(read)]);
    let expected = STANDARD.encode(bytes(&format!("{FOUR_VALUES}050800fee03f")));
    let text = String::from_utf8(body).expect("JSON");
    let entry = r#"[{"name":"a.b.c","type":"histogram","tagstring":"","tags":null,"value":""#;
    assert_eq!(text, format!("{entry}{expected}\"}}]"));
}

/// By Go's own encoder, with its type numbers and with values of a debug build: (1.5, 2), (0, 3) and (-2.25, 0.1).
const SAMPLES: &str = "0dff83020102ff840001ff800000367f0301010843656e74726f696401ff8000010301044d65616e01080001065765696768740108000107\
     53616d706c657301ff8200000017ff81020101095b5d666c6f6174363401ff8200010800002aff84000301fef83f01400102fef03f400002\
     fe08400001fe02c001f89a9999999999b93f0101fe02c000050800fe5940050800fe08c003080040050800fee83f";
/// By the same, an untouched digest.
const EMPTY: &str = "0dff83020102ff840001ff800000367f0301010843656e74726f696401ff8000010301044d65616e01080001065765696768740108000107\
     53616d706c657301ff8200000017ff81020101095b5d666c6f6174363401ff82000108000004ff840000050800fe5940050800fef07f0508\
     00fef0ff03080000";
/// By the same, of a struct with other fields between: a map of lists, a text, a truth, structs within structs.
const OTHER_FIELDS: &str = "0dff95020102ff960001ff8a000052ff890301010943656e74726f69643201ff8a0001060105457874726101ff8e00010657656967687401\
     080001044e616d65010c0001044d65616e0108000104466c616701020001044e65737401ff9000000021ff8d040101106d61705b73747269\
     6e675d5b5d696e7401ff8e00010c01ff8c00000cff8b020102ff8c00010400003bff8f03010126737472756374207b2041205b5d73747275\
     6374207b204220636f6d706c6578313238207d207d01ff9000010101014101ff9400000028ff93020101195b5d737472756374207b204220\
     636f6d706c6578313238207d01ff940001ff92000012ff91030102ff92000101010142010e00000034ff960002010101610302fe0257fd02\
     22e0014001017801fe1440010101010101fe0840fe104000000002fef03f02fe1840020000050800fe5940050800fe1440050800fe184005\
     0800fee03f";

#[test]
fn gobs_of_gos_encoder_are_read_whatever_their_types_are_numbered() {
    let all = |gob: &str| {
        let read = read_gob(&bytes(gob)).expect("by Go");
        let centroids: Vec<_> = read.main_centroids.iter().map(|centroid| (centroid.mean, centroid.weight)).collect();
        (centroids, [read.compression, read.min, read.max, read.reciprocal_sum])
    };
    assert_eq!(all(SAMPLES), (vec![(1.5, 2.0), (0.0, 3.0), (-2.25, 0.1)], [100.0, -3.0, 2.0, 0.75]));
    assert_eq!(all(EMPTY), (vec![], [100.0, f64::INFINITY, f64::NEG_INFINITY, 0.0]));
    assert_eq!(all(OTHER_FIELDS), (vec![(5.0, 2.0), (6.0, 1.0)], [100.0, 5.0, 6.0, 0.5]));
}

#[test]
fn a_digest_of_gos_comes_back_without_its_samples() {
    let samples = bytes(SAMPLES);
    let mut digest = read_gob(&samples).expect("by Go");
    digest.main_centroids.iter_mut().for_each(|centroid| centroid.samples.clear());
    let body = legacy::write([&partial_of(digest.clone())]);
    let Some(Value::Histogram(back)) = read(&body).remove(0).expect("ours").value else { panic!("a histogram") };
    assert_eq!(back.t_digest, Some(digest));
}

fn partial_of(digest: MergingDigestData) -> Metric {
    let mut metric = partial(Kind::Histogram, Scope::Mixed, &[], digest_of(&[1.0]));
    metric.value = Some(Value::Histogram(HistogramValue { t_digest: Some(digest) }));
    metric
}

#[test]
fn counters_gauges_and_sets_are_the_originals_bytes() {
    let mut set = HyperLogLog::new();
    set.insert(b"test");
    let tags = &["foo:bar", "baz:qux"];
    let body = legacy::write(&[
        partial(Kind::Counter, Scope::Global, tags, PartialValue::Counter(-2.0)),
        partial(Kind::Gauge, Scope::Global, &[], PartialValue::Gauge(1.0)),
        partial(Kind::Set, Scope::Mixed, &[], PartialValue::Set(set)),
    ]);
    let expected = [
        r#"[{"name":"a.b.c","type":"counter","tagstring":"baz:qux,foo:bar","tags":["baz:qux","foo:bar"],"value":"/v////////8="},"#,
        r#"{"name":"a.b.c","type":"gauge","tagstring":"","tags":null,"value":"AAAAAAAA8D8="},"#,
        r#"{"name":"a.b.c","type":"set","tagstring":"","tags":null,"value":"AQ4AAQAAAAEDShtUAAAAAAAAAAAAAAAA"}]"#,
    ];
    assert_eq!(String::from_utf8(body).expect("JSON"), expected.concat());
}

#[test]
fn tags_come_from_the_tagstring_or_else_from_the_list() {
    let tags = |fields: &str| {
        let body = format!(r#"[{{"name":"a","type":"gauge","value":"AAAAAAAA8D8=",{fields}}}]"#);
        read(body.as_bytes()).remove(0).expect("a metric").tags
    };
    assert_eq!(tags(r#""tagstring":"a:1,b:2","tags":["c:3"]"#), ["a:1", "b:2"]);
    assert_eq!(tags(r#""tagstring":"","tags":["c:3","d"]"#), ["c:3", "d"]);
    assert_eq!(tags(r#""tags":null"#), [""; 0]);
    assert_eq!(tags(r#""tags":["a\u00e9"]"#), ["a\u{e9}"]);
}

#[test]
fn an_entry_that_cannot_be_read_is_refused_alone() {
    let good = r#"{"name":"a","type":"gauge","value":"AAAAAAAA8D8="}"#;
    let cases = [
        (r#"{"name":"a","type":"gauge","value":"AAAA"}"#, "bad_entry"),
        (r#"{"name":"a","type":"gauge","value":"%%%"}"#, "bad_entry"),
        (r#"{"name":"a","type":"gauge","value":7}"#, "bad_entry"),
        (r#"{"name":{"a":1},"type":"gauge","value":"AAAAAAAA8D8="}"#, "bad_entry"),
        (r#"{"name":"a","type":"gauge","tags":"x","value":"AAAAAAAA8D8="}"#, "bad_entry"),
        (r#"{"name":"a","type":"gauge","tags":[1],"value":"AAAAAAAA8D8="}"#, "bad_entry"),
        (r#"{"name":"a","type":"counter","value":""}"#, "bad_entry"),
        ("7", "bad_entry"),
        ("[[],{}]", "bad_entry"),
        (r#""gauge""#, "bad_entry"),
        (r#"{"name":"a","value":"AAAAAAAA8D8="}"#, "type_mismatch"),
        (r#"{"name":"a","type":"status","value":"AAAAAAAA8D8="}"#, "type_mismatch"),
        (r#"{"name":"a","type":"timer","value":""}"#, "bad_digest"),
        (r#"{"name":"a","type":"histogram","value":"AAAAAAAA8D8="}"#, "bad_digest"),
        ("null", "type_mismatch"),
        ("{}", "type_mismatch"),
    ];
    for (bad, reason) in cases {
        let entries = read(format!("[{good},{bad},{good}]").as_bytes());
        let refused: Vec<&str> = entries.iter().filter_map(|entry| Some(entry.as_ref().err()?.reason())).collect();
        assert_eq!((entries.len(), refused.as_slice()), (3, &[reason][..]), "{bad}");
    }
}

#[test]
fn more_tags_than_any_metric_has_are_refused() {
    for tags in [format!(r#""tagstring":"{}""#, ",".repeat(2_000)), format!(r#""tags":[{}""]"#, "\"\",".repeat(2_000))]
    {
        let body = format!(r#"[{{"name":"a","type":"gauge","value":"AAAAAAAA8D8=",{tags}}},{{"name":"b"}}]"#);
        assert_eq!(read(body.as_bytes()), [Err(Refused::Shape), Err(Refused::Type)]);
    }
}

#[test]
fn a_body_is_refused_as_a_whole_before_anything_of_it_is_given_out() {
    let good = r#"{"name":"a","type":"gauge","value":"AAAAAAAA8D8="}"#;
    let deep = format!("[{good},{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let bodies = [
        "",
        "{",
        "[]",
        "{}",
        "7",
        "null",
        "[{},{}]",
        "[null,null]",
        r#"[{"unknown":1}]"#,
        &format!("[{good}"),
        &format!("[{good}]]"),
        &format!("[{good},]"),
        &deep,
        &format!("[{good}][{good}]"),
    ];
    for body in bodies {
        let refused = legacy::read(body.as_bytes(), |entry| panic!("gave out {entry:?}"));
        assert!(refused.is_err(), "{body}");
    }
}

#[test]
fn what_a_body_cannot_carry_is_left_out() {
    let global = partial(Kind::Timer, Scope::Global, &[], digest_of(&[1.0]));
    let mixed = partial(Kind::Timer, Scope::Mixed, &[], digest_of(&[1.0]));
    let mut finished = partial(Kind::Gauge, Scope::Global, &[], PartialValue::Gauge(1.0));
    finished.pass_through = true;
    let mut comma = mixed.clone();
    comma.tags = vec!["a,b".to_owned()];
    let mut empty = mixed.clone();
    empty.value = None;
    assert_eq!([&global, &mixed, &finished, &comma, &empty].map(carries), [false, true, false, false, false]);
    assert_eq!(read(&legacy::write([&global, &mixed, &finished, &comma, &empty])), [Ok(mixed)]);
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -1e6..1e6, 1 => any::<f64>().prop_filter("finite", |number| number.is_finite()), 1 => Just(1.0)]
}

fn carried() -> impl Strategy<Value = Metric> {
    let value = prop_oneof![
        any::<i32>().prop_map(|n| (Kind::Counter, Scope::Global, PartialValue::Counter(n.into()))),
        number().prop_map(|n| (Kind::Gauge, Scope::Global, PartialValue::Gauge(n))),
        (any::<bool>(), prop::collection::vec(number(), 1..300)).prop_map(|(timer, numbers)| {
            (if timer { Kind::Timer } else { Kind::Histogram }, Scope::Mixed, digest_of(&numbers))
        }),
        (0..3_000_u32).prop_map(|members| {
            let mut set = HyperLogLog::new();
            (0..members).for_each(|member| set.insert(&member.to_le_bytes()));
            (Kind::Set, Scope::Mixed, PartialValue::Set(set))
        }),
    ];
    (".{1,20}", prop::collection::vec("[^,]{0,9}", 0..5), value).prop_map(|(name, tags, (kind, scope, value))| {
        let tags = Tags::new(tags.iter().map(String::as_str));
        let context = Context { name: name.into(), tags, kind, scope };
        let mut metric = encode_partial(Partial { context, value, stamp: None });
        // The rest is not carried.
        metric.saturated_registers.clear();
        metric
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_body_carries_comes_back(metrics in prop::collection::vec(carried(), 1..8)) {
        let back: Vec<Metric> = read(&legacy::write(&metrics)).into_iter().map(|entry| entry.expect("ours")).collect();
        prop_assert_eq!(&back, &metrics);
        for metric in &back {
            prop_assert!(matches!(decode(metric), Ok(Item::Partial(_))));
        }
    }

    #[test]
    fn reading_a_gob_is_total(
        noise in prop::collection::vec(any::<u8>(), 0..100),
        cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        drop(read_gob(&noise));
        let mut gob = bytes(FOUR_VALUES);
        for (place, byte) in changes {
            let place = place.index(gob.len());
            gob[place] = byte;
        }
        drop(read_gob(&gob));
        drop(read_gob(&gob[..cut.index(gob.len())]));
    }

    #[test]
    fn reading_a_body_is_total(noise in prop::collection::vec(any::<u8>(), 0..100), text in "[\\[\\]{}\",:a0-9 ]{0,60}") {
        drop(legacy::read(&noise, |_| {}));
        drop(legacy::read(text.as_bytes(), |_| {}));
    }
}

#[test]
fn a_gob_announces_nothing_that_is_allocated_before_it_is_there() {
    let types = &FOUR_VALUES[..FOUR_VALUES.find("2fff88").expect("the first value")];
    let with = |value: &str| read_gob(&bytes(&format!("{types}{value}")));
    // Two to the power of 56 centroids, of which none is there.
    assert!(matches!(with("0cff8800f8ffffffffffffffff"), Err(GobError::TooMany { what: "centroids", .. })));
    let mut many = vec![0; 20_004];
    many.splice(..0, bytes("ff8800fe4e20"));
    let message = [vec![0xFE, 0x4E, 0x2A], many].concat();
    let whole = [bytes(types), message].concat();
    assert!(matches!(read_gob(&whole), Err(GobError::TooMany { what: "centroids", found: 20_000, .. })));
    assert!(matches!(with("fcffffffff"), Err(GobError::TooMany { what: "bytes of a message", .. })));
    assert!(matches!(with("f0"), Err(GobError::Integer(16))));
    assert_eq!(read_gob(&bytes(FOUR_VALUES)[..bytes(FOUR_VALUES).len() - 6]), Err(GobError::Truncated("maximum")));
}
