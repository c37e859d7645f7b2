//! The table: each statistic as the globals published it, beside its exact value.

use super::batch::Batch;
use super::published::Published;

const TITLES: [&str; 5] = ["statistic", "published by the globals", "exact", "difference", "in rank"];

/// The table as text, each line indented by two spaces.
pub(crate) fn render(published: &Published, batch: &Batch) -> String {
    let latencies = &batch.latencies;
    let (Some(min), Some(max)) = (latencies.first(), latencies.last()) else {
        return "  the pods emitted no latencies\n".to_owned();
    };
    let count = |title: &str, value: f64, exact: usize| {
        [title.to_owned(), format!("{value}"), format!("{exact}"), difference(value, exact as f64), String::new()]
    };
    let latency = |title: &str, value: f64, exact: f64, rank: String| {
        let [value_ms, exact_ms] = [value, exact].map(|value| format!("{value:.3} ms"));
        [title.to_owned(), value_ms, exact_ms, difference(value, exact), rank]
    };
    let percentile = |title: &str, value: f64, q: f64| {
        let rank = format!("{:.3} %", 100.0 * rank_error(latencies, value, q));
        latency(title, value, quantile(latencies, q), rank)
    };
    align(&[
        TITLES.map(str::to_owned),
        count("count", published.count, latencies.len()),
        latency("min", published.min, *min, String::new()),
        latency("max", published.max, *max, String::new()),
        percentile("p50", published.p50, 0.5),
        percentile("p99", published.p99, 0.99),
        count("distinct users", published.users, batch.users.len()),
    ])
}

/// Distance from `q` to the nearest rank that `value` has among the sorted `samples`: to [P(X<v), P(X≤v)].
pub(crate) fn rank_error(samples: &[f64], value: f64, q: f64) -> f64 {
    let below = samples.partition_point(|sample| *sample < value) as f64 / samples.len() as f64;
    let up_to = samples.partition_point(|sample| *sample <= value) as f64 / samples.len() as f64;
    (below - q).max(q - up_to).max(0.0)
}

/// The smallest of the sorted `samples` that at least the part `q` of them does not exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of samples")]
fn quantile(samples: &[f64], q: f64) -> f64 {
    let rank = (q * samples.len() as f64).ceil() as usize;
    samples[rank.clamp(1, samples.len()) - 1]
}

fn difference(value: f64, exact: f64) -> String {
    if value.total_cmp(&exact).is_eq() {
        return "none".to_owned();
    }
    format!("{:+.3} %", 100.0 * (value - exact) / exact)
}

/// Columns as wide as their widest cell; the first to the left, the others to the right, as numbers are.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let cell = |(column, cell): (usize, &String)| match (column, widths[column]) {
        (0, width) => format!("  {cell:<width$}"),
        (_, width) => format!("   {cell:>width$}"),
    };
    rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<String>().trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_error_is_the_distance_to_the_nearest_rank_of_the_value() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        for (value, q, expected) in [
            (50.0, 0.5, 0.0),
            (50.5, 0.5, 0.0),
            (51.0, 0.5, 0.0), // 50 % lie below it
            (52.0, 0.5, 0.01),
            (49.0, 0.5, 0.01),
            (100.0, 0.99, 0.0),
            (97.5, 0.99, 0.02),
            (1000.0, 0.99, 0.01),
        ] {
            let error = rank_error(&samples, value, q);
            assert!((error - expected).abs() < 1e-12, "{value} at {q}: {error}");
        }
        assert!(rank_error(&[7.0; 10], 7.0, 0.99).abs() < 1e-12, "a repeated value has many ranks");
    }

    #[test]
    fn columns_are_aligned() {
        let batch =
            Batch { latencies: vec![0.5, 1.0, 2.0, 1234.5], users: ["a", "b"].map(str::to_owned).into(), dropped: 0 };
        let published = Published { count: 4.0, min: 0.5, max: 1234.5, p50: 1.5, p99: 1234.5, users: 3.0 };
        let lines = [
            "  statistic        published by the globals         exact   difference   in rank",
            "  count                                   4             4         none",
            "  min                              0.500 ms      0.500 ms         none",
            "  max                           1234.500 ms   1234.500 ms         none",
            "  p50                              1.500 ms      1.000 ms    +50.000 %   0.000 %",
            "  p99                           1234.500 ms   1234.500 ms         none   0.000 %",
            "  distinct users                          3             2    +50.000 %",
        ];
        assert_eq!(render(&published, &batch), lines.map(|line| format!("{line}\n")).concat());
    }
}
