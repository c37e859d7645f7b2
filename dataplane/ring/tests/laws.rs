//! Laws of the ring.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::SizeRange;
use veneur_ring::{Key, Member, Ring, Timeline};

fn member(number: u32) -> Member {
    Member { name: format!("global-{number}"), address: format!("10.0.0.{number}:8128") }
}

fn keys() -> impl Iterator<Item = Key> {
    (0..500).map(|n| Key::new(&format!("api.latency.{n}"), "timer", "env:prod,zone:a"))
}

fn numbers(size: impl Into<SizeRange>) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::btree_set(0_u32..200, size).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_membership_change_moves_only_the_keys_it_must(numbers in numbers(2..12)) {
        let all = Ring::new(numbers.iter().copied().map(member).collect());
        let gone = member(numbers[0]);
        let rest = Ring::new(numbers[1..].iter().copied().map(member).collect());
        for key in keys() {
            let owner = all.owner(key);
            if owner == Some(&gone) {
                // Read forwards a leaver's keys move, read backwards only a newcomer takes.
                prop_assert_ne!(rest.owner(key), Some(&gone));
            } else {
                prop_assert_eq!(rest.owner(key), owner);
            }
            prop_assert_eq!(all.owner_among(key, |member| *member != gone), rest.owner(key));
        }
    }

    #[test]
    fn rings_with_the_same_members_agree_on_every_owner(
        (numbers, shuffled) in numbers(1..12).prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
        repeated in 0_usize..12,
    ) {
        let ring = Ring::new(numbers.iter().copied().map(member).collect());
        let again = shuffled.iter().chain(shuffled.iter().take(repeated));
        let other = Ring::new(again.copied().map(member).collect());
        prop_assert_eq!(ring.hash(), other.hash());
        for key in keys() {
            prop_assert_eq!(ring.owner(key), other.owner(key));
        }
    }

    #[test]
    fn rings_with_other_members_have_another_hash(one in numbers(1..6), two in numbers(1..6)) {
        let (one, two) = [one, two].map(|n| Ring::new(n.into_iter().map(member).collect())).into();
        prop_assert_eq!(one.hash() == two.hash(), one.members() == two.members());
    }

    #[test]
    fn no_key_has_two_owners_for_one_stamp_in_any_order_of_arrival(
        (changes, shuffled) in prop::collection::btree_map(0_u64..60_000, numbers(0..6), 1..8)
            .prop_map(|changes| changes.into_iter().collect::<Vec<_>>())
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
        interval_ms in 1_000_u64..20_000,
    ) {
        let [in_order, shuffled] = [changes, shuffled].map(|changes| {
            let mut timeline = Timeline::new(interval_ms);
            for (written_ms, numbers) in changes {
                timeline.change(written_ms, numbers.into_iter().map(member).collect());
            }
            timeline
        });
        for boundary_ms in (0..100_000).step_by(usize::try_from(interval_ms).expect("small")) {
            prop_assert_eq!(in_order.at(boundary_ms), shuffled.at(boundary_ms));
        }
        prop_assert_eq!(in_order.latest(), shuffled.latest());
    }
}

#[test]
fn members_own_equal_shares() {
    let keys: Vec<Key> =
        (0..1_000_000).map(|n| Key::new(&format!("svc.{}.latency", n % 1_000), "timer", &format!("pod:{n}"))).collect();
    for (count, bar) in [(10, 1.02), (50, 1.04)] {
        let ring = Ring::new((0..count).map(member).collect());
        let mut shares = BTreeMap::<&str, u32>::new();
        for key in &keys {
            *shares.entry(&ring.owner(*key).expect("members").name).or_default() += 1;
        }
        let fullest = f64::from(*shares.values().max().expect("members"));
        let imbalance = fullest * f64::from(count) / 1e6;
        println!("{count} members: max/mean {imbalance:.4}");
        assert!(imbalance <= bar, "{count} members: max/mean {imbalance}");
    }
}
