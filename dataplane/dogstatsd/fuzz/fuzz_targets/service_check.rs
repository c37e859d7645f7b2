//! No line panics the parser of service checks, and what it accepts is no longer than the line.
#![no_main]

libfuzzer_sys::fuzz_target!(|line: &[u8]| {
    if let Ok((check, skipped)) = veneur_dogstatsd::service_check::parse(line) {
        // A byte that is not UTF-8 becomes a character of three.
        assert!(check.bytes() <= size_of_val(&check) + 3 * line.len());
        assert!(!check.name.is_empty() && skipped.0 as usize <= line.len());
    }
});
