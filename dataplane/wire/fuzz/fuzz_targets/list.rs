//! No list of metrics panics its reader, and its metrics, each read alone, are those that a decoder of the whole list finds;
//! joined again they are a list of the same.
#![no_main]

use prost::Message as _;
use veneur_wire::{forwardrpc::MetricList, list, metricpb::Metric};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (fields, end) = list::fields(bytes);
    let metrics: Vec<&[u8]> = list::metrics(bytes).collect();
    assert!(metrics.len() <= fields && end <= bytes.len());

    let mut joined = Vec::new();
    metrics.iter().for_each(|metric| list::put(&mut joined, metric));
    assert!(joined.len() <= end, "ours is the shortest form");
    assert_eq!(list::fields(&joined), (metrics.len(), joined.len()));
    assert!(list::metrics(&joined).eq(metrics.iter().copied()));

    // As bytes: a number that is none equals nothing.
    let encoded = |list: &[u8]| MetricList::decode(list).map(|list| list.encode_to_vec());
    let Ok(whole) = encoded(bytes) else { return };
    if end < bytes.len() {
        assert_eq!(bytes[end] & 7, 3, "what a decoder takes and we do not begins a group");
        return;
    }
    let alone = |metric: &&[u8]| Metric::decode(*metric).expect("it was decoded within the list");
    assert_eq!(MetricList { metrics: metrics.iter().map(alone).collect() }.encode_to_vec(), whole);
    assert_eq!(encoded(&joined), Ok(whole));
});
