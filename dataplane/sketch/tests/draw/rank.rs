//! How far a quantile is from where it should lie.

/// Distance from `q` to [P(X < v), P(X ≤ v)], of ascending values.
pub(crate) fn rank_error(ascending: &[f64], q: f64, v: f64) -> f64 {
    let share = |below: usize| below as f64 / ascending.len() as f64;
    let less = share(ascending.partition_point(|&x| x < v));
    let less_or_equal = share(ascending.partition_point(|&x| x <= v));
    (less - q).max(q - less_or_equal).max(0.0)
}
