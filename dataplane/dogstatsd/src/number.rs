//! Decimal numbers.

/// A finite decimal number. `nan`, `inf` and what overflows are none; what underflows is zero.
pub(crate) fn parse(text: &[u8]) -> Option<f64> {
    match plain(text) {
        Some((number, length)) if length == text.len() => Some(number),
        _ => general(text),
    }
}

/// Powers of ten that an `f64` holds exactly.
const TENS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The number that the text begins with, and its length, if it is short: a sign, up to 15 digits, a point.
///
/// Digits up to 10^15 and the power of ten are both exact in an `f64`, so one division rounds once and correctly
/// (Clinger 1990, the fast path). What may follow is the caller's to judge.
#[inline]
pub(crate) fn plain(text: &[u8]) -> Option<(f64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut digits, mut fraction, mut at, mut point) = (0_u64, 0, start, false);
    while let Some(&byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
            fraction += usize::from(point);
        } else if byte == b'.' && !point {
            point = true;
        } else {
            break;
        }
        at += 1;
    }
    let count = at - start - usize::from(point);
    if count == 0 || count > 15 {
        return None;
    }
    let magnitude = if fraction == 0 { digits as f64 } else { digits as f64 / TENS[fraction] };
    Some((if negative { -magnitude } else { magnitude }, at))
}

fn general(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_rounded_as_the_standard_library_does() {
        for text in
            ["0", "-0", "1", ".5", "5.", "-12.73", "0.1", "123456789012345", "0.00000000000001", "999999.999999999"]
        {
            let expected: f64 = text.parse().expect("a number");
            assert_eq!(plain(text.as_bytes()), Some((expected, text.len())), "{text}");
        }
        for text in ["", "-", ".", "+1", "1234567890123456"] {
            assert_eq!(plain(text.as_bytes()), None, "{text}");
        }
        assert_eq!(plain(b"1e3"), Some((1.0, 1)), "the exponent is the caller's to see");
        assert_eq!((parse(b"1e3"), parse(b"1.2.3"), parse(b"-inf")), (Some(1000.0), None, None));
    }
}
