//! Law 2, second half: decode(encode(x)) = x.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use veneur_metric::{Context, Kind, Partial, PartialValue, Point, PointKind, Scope, Stamp, Tags};
use veneur_sketch::{HyperLogLog, TDigest};
use veneur_wire::{Item, decode, encode_partial, encode_point, metricpb::Metric};

fn value() -> impl Strategy<Value = (Kind, PartialValue)> {
    let numbers = || prop::collection::vec(-1e9..1e9, 1..300);
    prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| (Kind::Counter, PartialValue::Counter(n))),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| (Kind::Gauge, PartialValue::Gauge(n))),
        (any::<bool>(), numbers()).prop_map(|(timer, numbers): (bool, Vec<f64>)| {
            let mut digest = TDigest::new();
            numbers.iter().for_each(|n| assert!(digest.insert(*n, 1.0)));
            (if timer { Kind::Timer } else { Kind::Histogram }, PartialValue::Digest(digest))
        }),
        prop::collection::vec(any::<[u8; 4]>(), 0..2_000).prop_map(|members| {
            let mut set = HyperLogLog::new();
            members.iter().for_each(|member| set.insert(member));
            (Kind::Set, PartialValue::Set(set))
        }),
    ]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (1_u64..500_000_000, 1_u64..300)
        .prop_map(|(count, seconds)| Stamp { boundary_ms: count * seconds * 1_000, interval_ms: seconds * 1_000 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_an_encoded_partial_gives_it_back(
        name in "[a-z.]{1,20}",
        tags in prop::collection::vec("[a-z]{1,5}:[a-z]{0,5}", 0..5),
        (kind, value) in value(),
        global in any::<bool>(),
        stamp in prop::option::of(stamp()),
    ) {
        let scope = if global { Scope::Global } else { Scope::Mixed };
        let context =
            Context { name: name.into(), tags: Tags::new(tags.iter().map(String::as_str)), kind, scope };
        let sent = Partial { context, value, stamp };
        let bytes = encode_partial(sent.clone()).encode_to_vec();
        let message = Metric::decode(bytes.as_slice()).expect("our own bytes");
        let Item::Partial(back) = decode(&message).expect("our own message") else { panic!("a partial") };
        prop_assert_eq!(&back.context, &sent.context);
        prop_assert_eq!(back.stamp, sent.stamp);
        match (sent.value, back.value) {
            (PartialValue::Counter(a), PartialValue::Counter(b)) | (PartialValue::Gauge(a), PartialValue::Gauge(b)) => {
                prop_assert_eq!(a.to_bits(), b.to_bits());
            }
            (PartialValue::Digest(mut a), PartialValue::Digest(mut b)) => {
                prop_assert_eq!(a.centroids(), b.centroids());
                prop_assert_eq!(a.min().to_bits(), b.min().to_bits());
                prop_assert_eq!(a.max().to_bits(), b.max().to_bits());
                prop_assert_eq!(a.reciprocal_sum().to_bits(), b.reciprocal_sum().to_bits());
            }
            (PartialValue::Set(a), PartialValue::Set(b)) => prop_assert_eq!(a.estimate(), b.estimate()),
            (a, b) => prop_assert!(false, "{a:?} came back as {b:?}"),
        }
    }

    #[test]
    fn decoding_an_encoded_point_gives_it_back(
        name in "[a-z.]{1,20}",
        value in any::<f64>().prop_filter("finite", |n| n.is_finite()),
        count in any::<bool>(),
        timestamp in 1_i64..10_000_000_000,
        stamp in stamp(),
    ) {
        let kind = if count { PointKind::Count } else { PointKind::Gauge };
        let interval = Duration::from_millis(stamp.interval_ms);
        let sent = Point { name: name.into(), tags: Tags::new(["host:a"]), kind, value, timestamp, interval };
        let Item::Point(back, when) = decode(&encode_point(sent.clone(), stamp)).expect("our own message") else {
            panic!("a point")
        };
        prop_assert_eq!((back, when), (sent, stamp));
    }

    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Metric::decode(bytes.as_slice()) {
            drop(decode(&message));
        }
    }
}
