//! What the original computes and sends, value for value and byte for byte.

#![expect(clippy::float_cmp, reason = "these numbers are equal to the bit, or wrong")]

use veneur_sketch::{Centroid, HllError, HyperLogLog, TDigest};

fn digest(values: &[f64]) -> TDigest {
    let mut digest = TDigest::new();
    values.iter().for_each(|&value| assert!(digest.insert(value, 1.0)));
    digest
}

fn set(members: &[&str]) -> HyperLogLog {
    let mut set = HyperLogLog::new();
    members.iter().for_each(|member| set.insert(member.as_bytes()));
    set
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits")).collect()
}

#[test]
fn small_digests_answer_as_the_original() {
    let mut uneven = digest(&[1.0, 2.0, 7.0, 8.0, 100.0]);
    assert_eq!(uneven.quantile(0.5), Some(6.0));
    assert_eq!(uneven.quantile(0.75), Some(42.375));
    assert!((uneven.quantile(0.99).unwrap() - 97.7).abs() < 1e-9);
    assert_eq!(uneven.reciprocal_sum(), 1.777_857_142_857_142_8);

    let mut even = digest(&[5.0, 10.0, 15.0, 20.0, 25.0]);
    assert_eq!((even.quantile(0.5), even.quantile(0.9)), (Some(15.0), Some(23.75)));
    assert_eq!(even.count() / even.reciprocal_sum(), 5.0 / (0.2 + 0.1 + 1.0 / 15.0 + 0.05 + 0.04));
}

#[test]
fn a_small_digest_sends_one_centroid_per_value() {
    let mut uneven = digest(&[100.0, 1.0, 8.0, 2.0, 7.0]);
    let expected: Vec<Centroid> = [1.0, 2.0, 7.0, 8.0, 100.0].map(|mean| Centroid { mean, weight: 1.0 }).to_vec();
    assert_eq!(uneven.centroids(), expected);
    // The last field of the original's message for these values.
    assert_eq!(uneven.reciprocal_sum().to_le_bytes()[..], bytes("bb80d8541a72fc3f"));
    assert_eq!(TDigest::from_centroids(expected, 1.0, 100.0, uneven.reciprocal_sum()), Ok(uneven));
}

#[test]
fn sampled_values_keep_the_weight_of_the_originals_single_precision() {
    let mut digest = TDigest::new();
    assert!(digest.insert(2.0, f64::from(1.0_f32 / 0.3_f32)));
    assert_eq!(digest.count(), 3.333_333_253_860_473_6);
}

#[test]
fn two_far_values_have_their_middle_as_median() {
    let mut sparse = digest(&[-200_000.0]);
    sparse.merge(&digest(&[200_000.0]));
    assert_eq!([0.0, 0.5, 1.0].map(|q| sparse.quantile(q)), [Some(-200_000.0), Some(0.0), Some(200_000.0)]);
}

#[test]
fn registers_equal_the_originals() {
    for (member, key, register, rank) in [
        ("test", "034a1b54", 13_473, 1),
        ("5", "0236fcbe", 9_071, 1),
        ("123", "01f902ca", 8_080, 3),
        ("761", "464c0005", 4_499, 13),
    ] {
        let set = set(&[member]);
        assert_eq!(set.rank(register), Some(rank), "{member}");
        assert_eq!(set.encode()[8..12], bytes(key), "{member}");
    }
    for (member, key) in [
        ("2147483647", "023b0bea"),
        ("-2147483648", "0241cfde"),
        ("value", "02924fdc"),
        ("foo", "02c512b6"),
        ("alice", "01d69370"),
        ("", "038bdc02"),
    ] {
        assert_eq!(set(&[member]).encode()[8..12], bytes(key), "{member:?}");
    }
}

#[test]
fn small_sets_are_sent_as_the_original_sends_them() {
    let payload = bytes("010e000100000001034a1b54000000000000000000000000");
    assert_eq!(set(&["test"]).encode(), payload);
    assert_eq!(HyperLogLog::decode(&payload), Ok(set(&["test"])));
}

#[test]
fn a_merged_key_list_is_read() {
    let payload = bytes("010e000100000000000000040241cfde0000000eca85e40ff4f3f701ac9e10f4871b");
    let expected = set(&["5", "123", "2147483647", "-2147483648"]);
    assert_eq!(HyperLogLog::decode(&payload), Ok(expected));
}

#[test]
fn keys_in_both_parts_and_any_order_are_one_set() {
    // `123` and `5` unsorted, with `5` and three more in the list.
    let payload = bytes("010e0001000000020236fcbe01f902ca000000040241cfde0000000eca85e40ff4f3f701ac9e10f4871b");
    let read = HyperLogLog::decode(&payload).unwrap();
    assert_eq!((read.estimate(), read), (4, set(&["5", "123", "2147483647", "-2147483648"])));
}

#[test]
fn sparse_estimates_equal_the_originals() {
    for count in [0, 1, 4, 1_000] {
        let mut set = HyperLogLog::new();
        (0..count).for_each(|n: u64| set.insert(n.to_string().as_bytes()));
        assert!(set.estimate().abs_diff(count) <= 1, "{count}: {}", set.estimate());
    }
}

#[test]
fn dense_payloads_hold_the_even_register_in_the_high_nibble() {
    let mut set = HyperLogLog::new();
    assert!(set.raise(0, 3) && set.raise(1, 5) && set.raise(16_383, 20));
    let payload = set.encode();
    assert_eq!(payload[..9], bytes("010e00000000200035"));
    assert_eq!((payload.len(), payload[8 + 8191], set.saturated()), (8 + 8192, 0x0F, vec![(16_383, 20)]));
}

#[test]
fn a_base_is_raised_only_when_a_rank_would_saturate() {
    let mut set = HyperLogLog::new();
    (0..16_384).for_each(|register| assert!(set.raise(register, 4)));
    assert_eq!(set.encode()[2], 0);
    assert!(set.raise(9, 19) && set.saturated().is_empty());
    assert_eq!((set.encode()[2], set.encode()[12]), (4, 0x0F));
    assert_eq!(HyperLogLog::decode(&set.encode()), Ok(set));
}

#[test]
fn malformed_payloads_are_refused_by_name() {
    for (payload, error) in [
        ("010e00", HllError::Truncated("header")),
        ("010d000100000000", HllError::Precision(13)),
        ("010e000200000000", HllError::Form(2)),
        ("010e0001ffffffff", HllError::Length { what: "unsorted keys", found: u32::MAX, limit: 16_384 }),
        ("010e000100000001034a1b", HllError::Truncated("unsorted keys")),
        ("010e0001000000010000000000000000000000000000000000", HllError::Key(0)),
        ("010e000100000001034a1b5400000000000000000000000000", HllError::Trailing(1)),
        ("010e0001000000000000000100001000000000028020", HllError::Key(0x1000)),
        ("010e000100000000000000020241cfde0000000eca85e40ff4f3f701ac9e10f4871b", HllError::List),
        ("010e00000000200100", HllError::Length { what: "bytes of registers", found: 8_193, limit: 8_192 }),
    ] {
        assert_eq!(HyperLogLog::decode(&bytes(payload)), Err(error), "{payload}");
    }
    let mut high = HyperLogLog::new();
    assert!(high.raise(0, 15));
    let mut payload = high.encode();
    payload[2] = 37;
    assert_eq!(HyperLogLog::decode(&payload), Err(HllError::Rank(52)));
}
