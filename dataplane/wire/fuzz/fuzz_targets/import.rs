//! No message panics the decoder, and what it accepts can be encoded and read again.
#![no_main]

use prost::Message as _;
use veneur_wire::{Item, decode, encode_partial, metricpb::Metric};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(metric) = Metric::decode(bytes) else { return };
    if let Ok(Item::Partial(partial)) = decode(&metric) {
        assert!(decode(&encode_partial(partial)).is_ok());
    }
});
