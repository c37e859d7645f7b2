//! No message panics the decoder, alone (dialect C) or in a list (B), and what it accepts can be encoded and read again;
//! what has an outline is what the decoder says.
#![no_main]

use prost::Message as _;
use veneur_wire::{
    Item, Outline, decode, encode_check, encode_event, encode_partial, encode_point, forwardrpc::MetricList,
    metricpb::Metric,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(partial) = Outline::of(bytes).and_then(Outline::into_partial) {
        let decoded = decode(&Metric::decode(bytes).expect("it has an outline"));
        assert!(
            matches!(decoded, Ok(Item::Partial(same)) if same.context == partial.context && same.stamp == partial.stamp)
        );
    }
    let list = MetricList::decode(bytes).unwrap_or_default().metrics;
    for metric in Metric::decode(bytes).into_iter().chain(list) {
        match decode(&metric) {
            Ok(Item::Partial(partial)) => assert!(decode(&encode_partial(partial)).is_ok()),
            Ok(Item::Point(point, stamp)) => assert!(decode(&encode_point(point, stamp)).is_ok()),
            Ok(Item::Event(event, stamp)) => assert!(decode(&encode_event(event, stamp)).is_ok()),
            Ok(Item::Check(check, stamp)) => assert!(decode(&encode_check(check, stamp)).is_ok()),
            Err(_) => {}
        }
    }
});
