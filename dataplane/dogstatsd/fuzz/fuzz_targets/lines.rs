//! A stream of lines says the same however it is cut, and yields no line longer than allowed.
#![no_main]

use veneur_dogstatsd::framing::Lines;

const LONGEST: usize = 64;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = read(bytes.len().max(1), bytes);
    assert!(whole.0.iter().all(|line| line.len() <= LONGEST));
    assert_eq!(read(usize::from(cut).max(1), bytes), whole);
});

fn read(chunk: usize, bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut lines, mut seen) = (Lines::new(LONGEST), Vec::new());
    for chunk in bytes.chunks(chunk) {
        let fed = lines.feed(chunk, |lines| {
            seen.extend(lines.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
        });
        if fed.is_err() {
            return (seen, true);
        }
    }
    seen.extend(lines.last().map(<[u8]>::to_vec));
    (seen, false)
}
