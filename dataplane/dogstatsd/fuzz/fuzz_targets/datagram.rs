//! No datagram panics the parser, and none yields more outcomes than it has separators.
#![no_main]

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| {
    let mut outcomes = 0;
    veneur_dogstatsd::parse_datagram(datagram, |outcome| {
        outcomes += 1;
        if let Ok(veneur_dogstatsd::Item::Sample(sample)) = outcome {
            veneur_dogstatsd::context_tags(sample.tags);
            veneur_dogstatsd::Claim::parse(sample.origin);
        }
    });
    assert!(outcomes <= 1 + datagram.iter().filter(|byte| matches!(byte, b'\n' | b':')).count());
});
