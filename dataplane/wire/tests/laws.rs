//! Law 2, second half: decode(encode(x)) = x.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use veneur_metric::{
    AlertType, Check, Context, Event, Kind, Partial, PartialValue, Point, PointKind, Priority, Scope, Stamp, Status,
    Tags,
};
use veneur_sketch::{HyperLogLog, RelativeSketch, TDigest};
use veneur_wire::{
    Item, Outline, decode, encode_check, encode_event, encode_partial, encode_point,
    metricpb::{
        self, CounterValue, GaugeValue, HistogramValue, Metric, RelativeBins, RelativeValue, SetValue,
        metric::Value as Wire,
    },
    tdigest,
};

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
        (
            any::<bool>(),
            prop::collection::vec(prop_oneof![-1e9..1e9, Just(0.0), any::<f64>()], 1..300),
            prop_oneof![Just(1.0), 0.1..1e9]
        )
            .prop_map(|(timer, numbers, weight): (bool, Vec<f64>, f64)| {
                let mut sketch = RelativeSketch::new();
                numbers.iter().for_each(|n| assert_eq!(sketch.insert(*n, weight), n.is_finite()));
                (if timer { Kind::Timer } else { Kind::Histogram }, PartialValue::Relative(Box::new(sketch)))
            }),
        (prop_oneof![0..200_u32, 5_000..20_000_u32], prop::collection::vec((0..16_384_u16, 1..=51_u8), 0..20))
            .prop_map(|(members, high)| {
                let mut set = HyperLogLog::new();
                (0..members).for_each(|member| set.insert(&member.to_le_bytes()));
                high.iter().for_each(|(register, rank)| assert!(set.raise(*register, *rank)));
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
                // The sign of zero is not carried: protobuf leaves a zero out.
                prop_assert!(a.total_cmp(&b).is_eq() || a.abs() + b.abs() == 0.0, "{} came back as {}", a, b);
            }
            (PartialValue::Digest(mut a), PartialValue::Digest(mut b)) => {
                prop_assert_eq!(a.centroids(), b.centroids());
                prop_assert_eq!(a.min().to_bits(), b.min().to_bits());
                prop_assert_eq!(a.max().to_bits(), b.max().to_bits());
                prop_assert_eq!(a.reciprocal_sum().to_bits(), b.reciprocal_sum().to_bits());
            }
            (PartialValue::Set(a), PartialValue::Set(b)) => prop_assert_eq!(a, b),
            (PartialValue::Relative(a), PartialValue::Relative(b)) => prop_assert_eq!(a, b),
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
    fn decoding_an_encoded_event_or_check_gives_it_back(
        (name, text) in (".{1,20}", ".{0,40}"),
        optional in prop::collection::vec(prop::option::of(".{1,9}"), 4),
        timestamp in prop::option::of(any::<i64>()),
        (priority, alert_type, status) in (0..2_usize, 0..4_usize, 0..4_usize),
        tags in prop::collection::vec("[a-z]{1,5}:[a-z]{0,5}", 0..5),
        stamp in stamp(),
    ) {
        let tags = Tags::new(tags.iter().map(String::as_str));
        let optional: Vec<Option<Box<str>>> = optional.into_iter().map(|text| text.map(Box::from)).collect();
        let [host, aggregation_key, source_type, message] = optional.try_into().expect("four of them");
        let event = Event {
            title: name.clone().into(),
            text: text.into(),
            timestamp,
            host: host.clone(),
            aggregation_key,
            priority: Priority::ALL[priority],
            source_type,
            alert_type: AlertType::ALL[alert_type],
            tags: tags.clone(),
        };
        let check = Check { name: name.into(), status: Status::ALL[status], timestamp, host, message, tags };
        let over_the_wire = |sent: Metric| {
            decode(&Metric::decode(sent.encode_to_vec().as_slice()).expect("our own bytes")).expect("our own message")
        };
        let Item::Event(back, when) = over_the_wire(encode_event(event.clone(), stamp)) else { panic!("an event") };
        prop_assert_eq!((back, when), (event, stamp));
        let Item::Check(back, when) = over_the_wire(encode_check(check.clone(), stamp)) else { panic!("a check") };
        prop_assert_eq!((back, when), (check, stamp));
    }

    #[test]
    fn decoding_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200), metric in metric()) {
        if let Ok(message) = Metric::decode(bytes.as_slice()) {
            drop(decode(&message));
        }
        // What is accepted is sound: it can be encoded, and read again.
        match decode(&metric) {
            Ok(Item::Partial(partial)) => prop_assert!(decode(&encode_partial(partial)).is_ok()),
            Ok(Item::Event(event, stamp)) => prop_assert!(decode(&encode_event(event, stamp)).is_ok()),
            Ok(Item::Check(check, stamp)) => prop_assert!(decode(&encode_check(check, stamp)).is_ok()),
            Ok(Item::Point(..)) | Err(_) => {}
        }
    }
}

/// A number that a careless or hostile peer may send.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -1e6..1e6, 1 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(0.0)]
}

/// Bins that may lie anywhere, with any number of weights; often some that could be.
fn bins() -> impl Strategy<Value = Option<RelativeBins>> {
    let possible = (-100..100_i32, 0..20_usize).prop_map(|(first, more)| RelativeBins {
        first,
        gaps: vec![3; more],
        counts: vec![7; more + 1],
        weights: Vec::new(),
    });
    let any = (any::<i32>(), prop::collection::vec(any::<u32>(), 0..4), prop::collection::vec(any::<u64>(), 0..4))
        .prop_flat_map(|(first, gaps, counts)| {
            prop::collection::vec(number(), 0..4).prop_map(move |weights| RelativeBins {
                first,
                gaps: gaps.clone(),
                counts: counts.clone(),
                weights,
            })
        });
    prop::option::of(prop_oneof![possible, any])
}

/// A message whose parts are of the right shape and need not fit each other.
fn metric() -> impl Strategy<Value = Metric> {
    let digest = (prop::collection::vec((number(), number()), 0..20), number(), number(), number()).prop_map(
        |(centroids, min, max, reciprocal_sum)| {
            let main_centroids = centroids
                .into_iter()
                .map(|(mean, weight)| tdigest::Centroid { mean, weight, samples: Vec::new() })
                .collect();
            let data = tdigest::MergingDigestData { main_centroids, compression: 100.0, min, max, reciprocal_sum };
            Wire::Histogram(HistogramValue { t_digest: Some(data) })
        },
    );
    let set = prop::collection::vec(any::<u8>(), 0..40).prop_map(|tail| {
        let hyper_log_log = [1, 14, 0, 1].into_iter().chain(tail).collect();
        Wire::Set(SetValue { hyper_log_log })
    });
    let relative = (bins(), bins(), number(), prop::array::uniform4(number())).prop_map(
        |(positive, negative, zero, [min, max, sum, reciprocal_sum])| RelativeValue {
            positive,
            negative,
            zero,
            min,
            max,
            sum,
            reciprocal_sum,
        },
    );
    let value = prop_oneof![
        any::<i64>().prop_map(|value| Wire::Counter(CounterValue { value })),
        number().prop_map(|value| Wire::Gauge(GaugeValue { value })),
        digest,
        set,
    ];
    (
        "[a-z]{0,3}",
        (-1..6_i32, -1..4_i32, prop::bool::weighted(0.8)),
        prop::option::weighted(0.9, value),
        prop::option::weighted(0.3, (any::<u64>(), prop_oneof![Just(10_000_u64), any::<u64>()])),
        prop::option::weighted(0.1, number()),
        (prop::bool::weighted(0.1), any::<i64>()),
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(any::<u32>(), 0..3)],
        prop::option::weighted(0.2, relative),
    )
        .prop_map(|(name, (kind, scope, fits), value, stamp, exact_counter, point, saturated_registers, relative)| {
            // Rarely both.
            let value = value.filter(|_| relative.is_none() || !fits);
            let kind = match &value {
                Some(Wire::Counter(_)) if fits => 0,
                Some(Wire::Gauge(_)) if fits => 1,
                Some(Wire::Histogram(_)) if fits => 2,
                Some(Wire::Set(_)) if fits => 3,
                None if relative.is_some() && fits => 4,
                _ => kind,
            };
            let (pass_through, timestamp) = point;
            Metric {
                name,
                tags: Vec::new(),
                r#type: kind,
                value,
                scope,
                exact_counter,
                timestamp,
                stamp: stamp.map(|(boundary_ms, interval_ms)| metricpb::Stamp { boundary_ms, interval_ms }),
                pass_through,
                saturated_registers,
                relative,
                ..Metric::default()
            }
        })
        .prop_flat_map(|metric| (Just(metric), (0..20_u8, -1..5_i32, -1..5_i32)))
        .prop_map(|(mut metric, (which, number, other))| {
            // Rarely an event or a check, and more rarely one that fits.
            if which < 2 {
                metric.value = metric.value.filter(|_| number < 0);
                metric.relative = metric.relative.filter(|_| number < 0);
                metric.pass_through = other >= 0;
            }
            if which == 0 {
                let event = metricpb::Event { priority: number, alert_type: other, ..Default::default() };
                metric.event = Some(Box::new(event));
            }
            if which == 1 || number == 4 {
                metric.check = Some(Box::new(metricpb::Check { status: number, ..Default::default() }));
            }
            metric
        })
}

#[test]
fn enough_of_the_hostile_messages_are_read_to_the_end() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let accepted =
        (0..4_000).filter(|_| decode(&metric().new_tree(&mut runner).expect("a message").current()).is_ok()).count();
    assert!(accepted > 40, "only {accepted} of 4,000 got past the first checks");
}

/// Messages as senders write them, and such with one byte changed, cut off, or followed by others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let whole =
        ("[a-z.]{0,3}", prop::collection::vec("[a-c,]{0,2}", 0..4), value(), any::<bool>(), prop::option::of(stamp()));
    let whole = whole.prop_map(|(name, tags, (kind, value), global, stamp)| {
        let scope = if global { Scope::Global } else { Scope::Mixed };
        let context = Context { name: name.into(), tags: Tags::none(), kind, scope };
        Metric { tags, ..encode_partial(Partial { context, value, stamp }) }.encode_to_vec()
    });
    let change = prop_oneof![
        Just((0.0, None)),
        (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| (at, Some(byte))),
        (0.0..0.05, any::<u8>()).prop_map(|(at, byte)| (at, Some(byte))),
    ];
    (whole, change, prop::collection::vec(any::<u8>(), 0..3)).prop_map(
        |(mut bytes, (at, byte), more): (Vec<u8>, _, _)| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the bytes")]
            let at = (at * bytes.len() as f64) as usize;
            if let (Some(byte), Some(place)) = (byte, bytes.get_mut(at)) {
                *place = byte;
                bytes.extend(more);
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_has_an_outline_is_decoded_to_the_partial_that_the_outline_makes(bytes in bytes()) {
        let decoded = Metric::decode(bytes.as_slice()).ok().and_then(|message| decode(&message).ok());
        if let Some(outline) = Outline::of(&bytes) {
            let canonical = outline.has_canonical_tags();
            let tags: Vec<String> = outline.tags.iter().map(|tag| (*tag).to_owned()).collect();
            let (sound, partial) = (outline.is_sound(), outline.into_partial());
            prop_assert_eq!(sound, partial.is_some());
            if let Some(partial) = partial {
                let decoded = match decoded {
                    Some(Item::Partial(decoded)) => Some(decoded),
                    _ => None,
                };
                let decoded = decoded.ok_or_else(|| TestCaseError::fail(format!("decode refuses {partial:?}")))?;
                prop_assert_eq!(&partial.context, &decoded.context);
                prop_assert_eq!(partial.stamp, decoded.stamp);
                prop_assert_eq!(canonical, decoded.context.tags.iter().eq(tags.iter().map(String::as_str)));
                prop_assert_eq!(format!("{:?}", partial.value), format!("{:?}", decoded.value));
            }
        }
    }

    #[test]
    fn what_a_sender_writes_has_an_outline((kind, value) in value(), stamp in prop::option::of(stamp())) {
        let context = Context { name: "a".into(), tags: Tags::new(["b", "c"]), kind, scope: Scope::Mixed };
        let message = encode_partial(Partial { context, value, stamp });
        let ordinary = message.relative.is_none() && message.saturated_registers.is_empty();
        let bytes = message.encode_to_vec();
        prop_assert_eq!(Outline::of(&bytes).is_some_and(|outline| outline.is_sound()), ordinary);
    }
}
