//! No line panics the parser of events, and what it accepts is no longer than the line.
#![no_main]

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    if let Ok((event, skipped)) = veneur_dogstatsd::event::parse(line) {
        // A byte that is not UTF-8 becomes a character of three.
        assert!(event.bytes() <= size_of_val(&event) + 3 * line.len());
        assert!(!event.title.is_empty() && skipped.0 as usize <= line.len());
    }
});
