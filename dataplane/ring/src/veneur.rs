//! The original's ring: 20 points for each member on a circle of CRC32 hashes, a key belongs to the next point.
//!
//! It has to name the owner that the original's proxies name. Three things they leave open are settled here: tags are
//! sorted before they are hashed, where the original takes them as they come; members are added in the order of their
//! addresses, which matters only where two points fall on one place; and a member that goes uncovers the points it had
//! covered, which the original forgets.

use crc32fast::Hasher;

use crate::Key;

/// Points of one member.
const POINTS: u32 = 20;

/// Points, each with its member's index, in the order in which a key finds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Circle(Vec<(u32, u32)>);

/// CRC32, IEEE polynomial, of texts one after another.
pub(crate) fn crc<'a>(texts: impl IntoIterator<Item = &'a str>) -> u32 {
    let mut hasher = Hasher::new();
    texts.into_iter().for_each(|text| hasher.update(text.as_bytes()));
    hasher.finalize()
}

impl Circle {
    /// Of distinct addresses, each known by its index.
    pub(crate) fn new(addresses: &[&str]) -> Self {
        let mut points: Vec<(u32, &str, u32)> = (0_u32..)
            .zip(addresses)
            .flat_map(|(index, address)| {
                (0..POINTS).map(move |point| (crc([point.to_string().as_str(), address]), *address, index))
            })
            .collect();
        // Where two points fall on one place the one added last covers the other.
        points.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(one.1)));
        Self(points.into_iter().map(|(point, _, index)| (point, index)).collect())
    }

    /// Index of the member of the first point behind `key` whose member is `admitted`.
    pub(crate) fn next(&self, key: Key, admitted: impl Fn(usize) -> bool) -> Option<usize> {
        let behind = self.0.partition_point(|(point, _)| u64::from(*point) <= key.0);
        let (wrapped, ahead) = self.0.split_at(behind);
        ahead.iter().chain(wrapped).map(|(_, index)| *index as usize).find(|index| admitted(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm::Veneur, Member, Ring};

    #[test]
    fn owners_are_those_that_the_originals_proxies_name() {
        let address = |n: u32| format!("10.0.0.{n}:8128");
        let ring = Ring::new(Veneur, (1..4).map(|n| Member { name: format!("g{n}"), address: address(n) }).collect());
        // Observed at the original's proxy.
        let vectors = [
            ("red", "histogram", "", 0x8a04_8e22, 3),
            ("blue", "histogram", "", 0x3417_f0cd, 1),
            ("pink", "histogram", "", 0xebf1_e770, 3),
            ("a.b.c", "counter", "foo:bar", 0x9df3_ec21, 2),
            ("a.b.c", "set", "", 0xedea_a69a, 3),
            ("a.b.c", "timer", "key1:value1,key2:value2", 0x1a17_5fa8, 3),
            ("metric_name", "gauge", "", 0x67de_41ff, 3),
        ];
        for (name, kind, tags, hash, owner) in vectors {
            let key = Key::new(Veneur, name, kind, tags);
            assert_eq!(key.0, hash, "{name}{kind}{tags}");
            assert_eq!(ring.owner(key).map(|member| &member.address), Some(&address(owner)), "{name}{kind}{tags}");
        }
    }

    #[test]
    fn the_dialect_of_a_member_moves_no_key() {
        let ring = |dialect: &str| {
            let address = |n: u32| format!("{dialect}10.0.0.{n}:8128");
            Ring::new(Veneur, (1..4).map(|n| Member { name: format!("g{n}"), address: address(n) }).collect())
        };
        let (stream, unary) = (ring(""), ring("grpc+unary://"));
        assert_eq!(stream.hash(), unary.hash());
        for key in (0..100).map(|n| Key::new(Veneur, &format!("a{n}"), "counter", "")) {
            let names = [&stream, &unary].map(|ring| ring.owner(key).map(|member| member.name.clone()));
            assert_eq!(names[0], names[1]);
        }
    }

    #[test]
    fn a_key_on_a_point_belongs_to_the_next_and_behind_the_last_to_the_first() {
        let circle = Circle(vec![(10, 0), (20, 1), (30, 2)]);
        for (key, owner) in [(9, 0), (10, 1), (29, 2), (30, 0), (u64::from(u32::MAX), 0)] {
            assert_eq!(circle.next(Key(key), |_| true), Some(owner), "{key}");
        }
        assert_eq!(circle.next(Key(9), |index| index == 2), Some(2));
        assert_eq!(circle.next(Key(9), |_| false), None);
    }

    #[test]
    fn where_two_points_fall_on_one_place_the_later_address_covers_the_earlier() {
        // Found by search.
        let (one, other) = ("10.0.138.219:8128", "10.1.225.85:8128");
        let place = crc(["3", one]);
        assert_eq!(place, crc(["15", other]));
        let (first, second) = (Circle::new(&[one, other]), Circle::new(&[other, one]));
        let before = Key(u64::from(place) - 1);
        assert_eq!((first.next(before, |_| true), second.next(before, |_| true)), (Some(1), Some(0)));
        assert_eq!(first.next(before, |index| index == 0), Some(0), "who is covered is uncovered again");
    }
}
