//! Laws of the framing: what a stream says does not depend on how it was cut.

use proptest::{collection::vec, prelude::*};
use veneur_dogstatsd::framing::{Frames, Lines, TooLong};

/// Short, so that drawn streams often go beyond it.
const LONGEST: usize = 24;

/// The chunks of `bytes` when cut after each of `cuts`.
fn chunks<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn lines(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<TooLong>) {
    let (mut lines, mut seen) = (Lines::new(LONGEST), Vec::new());
    for chunk in chunks {
        let fed = lines.feed(chunk, |lines| {
            let ended = lines.split(|byte| *byte == b'\n');
            seen.extend(ended.map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()));
        });
        if let Err(error) = fed {
            return (seen, Some(error));
        }
    }
    seen.extend(lines.last().map(<[u8]>::to_vec));
    (seen, None)
}

fn frames(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<TooLong>, bool) {
    let (mut frames, mut seen) = (Frames::new(LONGEST), Vec::new());
    for chunk in chunks {
        if let Err(error) = frames.feed(chunk, |packet| seen.push(packet.to_vec())) {
            return (seen, Some(error), false);
        }
    }
    (seen, None, frames.is_cut())
}

/// Text in which line ends are frequent.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![8 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')], 0..200)
}

/// Lengths that are mostly right, and what follows them.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let packet = (vec(any::<u8>(), 0..=LONGEST), prop_oneof![9 => Just(0_i64), 1 => -3_i64..300]);
    vec(packet, 0..12).prop_map(|packets| {
        packets.into_iter().fold(Vec::new(), |mut bytes, (packet, off)| {
            let length = i64::try_from(packet.len()).expect("short") + off;
            bytes.extend(u32::try_from(length.max(0)).expect("short").to_le_bytes());
            bytes.extend(packet);
            bytes
        })
    })
}

proptest! {
    #[test]
    fn any_cutting_of_a_stream_gives_the_same_lines(bytes in stream(), cuts in vec(any::<usize>(), 0..20)) {
        prop_assert_eq!(lines(&chunks(&bytes, &cuts)), lines(&[&bytes]));
    }

    #[test]
    fn lines_are_what_splitting_the_whole_text_gives(bytes in stream()) {
        let split: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let short = split.iter().take_while(|line| line.len() <= LONGEST).count();
        let mut expected: Vec<Vec<u8>> =
            split[..short].iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec()).collect();
        if short == split.len() && expected.last().is_some_and(Vec::is_empty) {
            expected.pop();
        }
        let too_long = (short < split.len()).then_some(TooLong(LONGEST));
        prop_assert_eq!(lines(&[&bytes]), (expected, too_long));
    }

    #[test]
    fn any_cutting_of_a_stream_gives_the_same_packets(bytes in packets(), cuts in vec(any::<usize>(), 0..20)) {
        prop_assert_eq!(frames(&chunks(&bytes, &cuts)), frames(&[&bytes]));
    }

    #[test]
    fn packets_are_what_was_framed(sent in vec(vec(any::<u8>(), 0..=LONGEST), 0..12)) {
        let mut bytes = Vec::new();
        for packet in &sent {
            bytes.extend(u32::try_from(packet.len()).expect("short").to_le_bytes());
            bytes.extend(packet);
        }
        prop_assert_eq!(frames(&[&bytes]), (sent, None, false));
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut frames = Frames::new(usize::MAX);
    frames.feed(&u32::MAX.to_le_bytes(), |_| panic!("nothing arrived")).expect("not too long for this one");
    assert!(frames.is_cut());
    assert_eq!(Frames::new(64).feed(&u32::MAX.to_le_bytes(), |_| {}), Err(TooLong(64)));
}
