//! The sketch of relative error, which only our own instances read: bins that hold any, and their weights.

use veneur_sketch::{RelativeSketch, Summary};

use crate::{
    decode::Refused,
    metricpb::{RelativeBins, RelativeValue},
};

/// The largest whole number up to which a double names each.
const WHOLE: f64 = (1_u64 << 53) as f64;

pub(crate) fn encode(sketch: &RelativeSketch) -> RelativeValue {
    let Summary { min, max, sum, reciprocal_sum, .. } = sketch.summary();
    let bins = |bins: Vec<(i32, f64)>| (!bins.is_empty()).then(|| wire_bins(&bins));
    RelativeValue {
        positive: bins(sketch.positive().collect()),
        negative: bins(sketch.negative().collect()),
        zero: sketch.zero(),
        min,
        max,
        sum,
        reciprocal_sum,
    }
}

pub(crate) fn decode(value: &RelativeValue) -> Result<RelativeSketch, Refused> {
    let &RelativeValue { zero, min, max, sum, reciprocal_sum, .. } = value;
    let summary = Summary { count: 0.0, sum, min, max, reciprocal_sum };
    let (positive, negative) = (pairs(value.positive.as_ref())?, pairs(value.negative.as_ref())?);
    Ok(RelativeSketch::from_parts(positive, negative, zero, &summary)?)
}

fn wire_bins(bins: &[(i32, f64)]) -> RelativeBins {
    let gaps = bins.array_windows().map(|[(before, _), (after, _)]| before.abs_diff(*after) - 1).collect();
    let whole = bins.iter().all(|(_, weight)| weight.fract() == 0.0 && *weight <= WHOLE);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number below 2^53")]
    let counts = |weight: f64| weight as u64;
    let weights = bins.iter().map(|&(_, weight)| weight);
    RelativeBins {
        first: bins.first().map_or(0, |&(index, _)| index),
        gaps,
        counts: if whole { weights.clone().map(counts).collect() } else { Vec::new() },
        weights: if whole { Vec::new() } else { weights.collect() },
    }
}

/// Bins and weights; what is out of range becomes a bin that holds no number, and is refused as such.
fn pairs(bins: Option<&RelativeBins>) -> Result<impl Iterator<Item = (i32, f64)>, Refused> {
    let (first, gaps, counts, weights) =
        bins.map_or((0, &[][..], &[][..], &[][..]), |bins| (bins.first, &bins.gaps, &bins.counts, &bins.weights));
    let (announced, given) = (gaps.len() + usize::from(bins.is_some()), counts.len() + weights.len());
    if announced != given {
        return Err(Refused::Bins { bins: announced, weights: given });
    }
    let indices = gaps.iter().scan(first, |index, &gap| {
        *index = i32::try_from(gap).map_or(i32::MAX, |gap| index.saturating_add(gap).saturating_add(1));
        Some(*index)
    });
    let weights = counts.iter().map(|&count| count as f64).chain(weights.iter().copied());
    Ok([first].into_iter().chain(indices).zip(weights))
}
