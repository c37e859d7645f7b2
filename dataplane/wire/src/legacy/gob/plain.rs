//! Digests as every sender writes them, read without looking at what the gob says of its types.
//!
//! Law: what is read here is read to the same by the types that the gob describes. Whatever else a gob may be, be it
//! valid or not, is not read here.

use super::{Bytes, Centroid, FLOAT, MOST_CENTROIDS, Numbers, SLICE, TYPES};

/// `None`: it is none of those.
pub(super) fn read(stream: &[u8], centroids: &mut Vec<Centroid>) -> Option<Numbers> {
    let mut rest = Bytes(stream.strip_prefix(TYPES)?);
    let mut value = value(&mut rest, SLICE)?;
    let count = value.count("centroids").ok().filter(|count| *count <= MOST_CENTROIDS)?;
    centroids.clear();
    centroids.reserve(count);
    for _ in 0..count {
        // Both fields, each the next one, and no debug build's third.
        let mean = float_behind(&mut value, 1)?;
        let weight = float_behind(&mut value, 1)?;
        if value.uint().ok()? != 0 {
            return None;
        }
        centroids.push(Centroid { mean, weight });
    }
    value.end().ok()?;
    Some(Numbers {
        compression: number(&mut rest)?,
        min: number(&mut rest)?,
        max: number(&mut rest)?,
        // Old senders leave it out.
        reciprocal_sum: if rest.is_empty() { 0.0 } else { number(&mut rest)? },
    })
    .filter(|_| rest.is_empty())
}

fn number(rest: &mut Bytes<'_>) -> Option<f64> {
    let mut value = value(rest, 2 * FLOAT.unsigned_abs())?;
    let number = value.float().ok()?;
    value.is_empty().then_some(number)
}

/// The value of the next message, if it is of this type, whose number is given doubled, and no struct.
fn value<'a>(rest: &mut Bytes<'a>, doubled_type: u64) -> Option<Bytes<'a>> {
    let length = rest.count("bytes of a message").ok()?;
    let mut message = Bytes(rest.take(length, "message").ok()?);
    let found = (message.uint().ok()?, message.uint().ok()?);
    (found == (doubled_type, 0)).then_some(message)
}

fn float_behind(value: &mut Bytes<'_>, step: u64) -> Option<f64> {
    if value.uint().ok()? == step { value.float().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{read_any, write};
    use super::*;
    use crate::tdigest;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(1.0), any::<f64>()]
    }

    proptest! {
        #[test]
        fn what_is_read_plainly_is_read_to_the_same_by_the_types_described(
            centroids in prop::collection::vec((number(), number()), 0..20),
            numbers in [number(), number(), number(), number()],
            old in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let centroid =
                |&(mean, weight): &(f64, f64)| tdigest::Centroid { mean, weight, ..Default::default() };
            let [compression, min, max, reciprocal_sum] = numbers;
            let main_centroids = centroids.iter().map(centroid).collect();
            let digest = tdigest::MergingDigestData { main_centroids, compression, min, max, reciprocal_sum };
            let mut stream = write(&digest);
            if old {
                // The last message: its length stands before it.
                let mut message = vec![];
                super::super::put_float(&mut message, reciprocal_sum);
                stream.truncate(stream.len() - message.len() - 3);
            }
            let changed = !changes.is_empty();
            for (place, byte) in changes {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            let (mut plainly, mut described) = (Vec::new(), Vec::new());
            let by_types = read_any(&stream, &mut described);
            match read(&stream, &mut plainly) {
                Some(numbers) => {
                    let bits = |n: &Numbers| [n.compression, n.min, n.max, n.reciprocal_sum].map(f64::to_bits);
                    prop_assert_eq!(by_types.as_ref().map(bits), Ok(bits(&numbers)));
                    let bits = |c: &Centroid| (c.mean.to_bits(), c.weight.to_bits());
                    prop_assert!(plainly.iter().map(bits).eq(described.iter().map(bits)));
                }
                None => prop_assert!(changed || centroids.iter().any(|(mean, weight)| *mean == 0.0 || *weight == 0.0)),
            }
        }
    }
}
