//! No body of `POST /import` panics its reader, and what is read and holds can be written and read again.
#![no_main]

use prost::Message as _;
use veneur_wire::{Item, decode, encode_partial, legacy, metricpb::Metric};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let mut metrics = Vec::new();
    let decoded = |message: &[u8]| Metric::decode(message).expect("the bytes of a metric");
    let read = legacy::read(body, |entry| metrics.extend(entry.map(decoded)));
    assert!(read.is_ok() || metrics.is_empty(), "a body that is refused gives out nothing");
    let sound = metrics.iter().filter_map(|metric| match decode(metric) {
        Ok(Item::Partial(partial)) => Some(encode_partial(partial)),
        Ok(Item::Point(..) | Item::Event(..) | Item::Check(..)) => panic!("a body carries partials alone"),
        Err(_) => None,
    });
    for metric in sound.filter(legacy::carries) {
        let mut back = Vec::new();
        legacy::read(&legacy::write([&metric]), |entry| back.push(entry.map(decoded))).expect("our own body");
        assert!(matches!(&*back, [Ok(back)] if back.name == metric.name && back.tags == metric.tags));
    }
});
