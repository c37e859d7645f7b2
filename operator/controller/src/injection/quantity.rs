//! Amounts of CPU and memory, as far as comparing them goes.

/// An amount in billionths; `None` where the text is no amount that a container can have.
///
/// Beyond what 128 bits hold, amounts are equal: no machine has that much.
pub(super) fn nanos(text: &str) -> Option<u128> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + decimals.len() == 0 || decimals.contains('.') || text.len() > 32 {
        return None;
    }
    let mantissa: u128 = format!("{whole}{decimals}").parse().ok()?;
    let shift = i32::try_from(decimals.len()).ok()?;
    let (binary, exponent) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|power| power.abs() <= 30)?),
    };
    let scaled = mantissa.saturating_mul(1 << binary);
    let power = exponent + 9 - shift;
    let factor = 10_u128.saturating_pow(power.unsigned_abs());
    // What is finer than a billionth is rounded up, as Kubernetes does.
    Some(if power < 0 { scaled.div_ceil(factor) } else { scaled.saturating_mul(factor) })
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn amounts_written_in_two_ways_are_equal() {
        for (one, other) in
            [("0.1", "100m"), ("1Ki", "1024"), ("1.5Gi", "1536Mi"), ("1e3", "1k"), ("1E-3", "1m"), (".5", "500m")]
        {
            assert!(nanos(one).is_some() && nanos(one) == nanos(other), "{one} {other}");
        }
        assert!(nanos("128Mi") < nanos("1G"));
        assert_eq!(nanos("1E"), nanos("1e18"));
    }

    #[test]
    fn what_no_container_can_have_is_no_amount() {
        for text in ["", "m", "-1", "1.2.3", "1 Gi", "1gi", "NaN", "1e99", "١"] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }
}
