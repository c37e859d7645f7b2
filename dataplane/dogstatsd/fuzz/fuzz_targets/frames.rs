//! A stream of packets says the same however it is cut, and yields no packet longer than allowed.
#![no_main]

use veneur_dogstatsd::framing::Frames;

const LONGEST: usize = 64;

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = read(bytes.len().max(1), bytes);
    assert!(whole.0.iter().all(|packet| packet.len() <= LONGEST));
    assert_eq!(read(usize::from(cut).max(1), bytes), whole);
});

fn read(chunk: usize, bytes: &[u8]) -> (Vec<Vec<u8>>, bool, bool) {
    let (mut frames, mut seen) = (Frames::new(LONGEST), Vec::new());
    for chunk in bytes.chunks(chunk) {
        if frames.feed(chunk, |packet| seen.push(packet.to_vec())).is_err() {
            return (seen, true, false);
        }
    }
    (seen, false, frames.is_cut())
}
