use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const SUBJECT: &str = "test authority";
const LIFETIMES: Lifetimes =
    Lifetimes { authority: Duration::from_mins(2), leaf: Duration::from_mins(1), settle: Duration::from_secs(10) };

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

#[test]
fn a_keyring_comes_back_from_its_secret_and_an_old_secret_is_one() {
    let mut keyring = Keyring::found(SUBJECT, at(0), &LIFETIMES).unwrap();
    let only_current = Keyring::from_data(SUBJECT, &keyring.to_data()).unwrap();
    assert_eq!(only_current.bundle(), keyring.bundle());
    for step in [Step::Prepare, Step::Announce, Step::Promote, Step::Prepare] {
        keyring = keyring.after(step, SUBJECT, at(5), &LIFETIMES).unwrap();
        let read = Keyring::from_data(SUBJECT, &keyring.to_data()).unwrap();
        assert_eq!((read.bundle(), read.ends()), (keyring.bundle(), keyring.ends()), "{step:?}");
    }
    assert_eq!(keyring.bundle().matches("BEGIN CERTIFICATE").count(), 3);
    assert!(!keyring.bundle().contains("PRIVATE"));
}

#[test]
fn what_is_wrong_with_a_secret_is_said() {
    let keyring = Keyring::found(SUBJECT, at(0), &LIFETIMES).unwrap();
    let wrong = |change: &dyn Fn(&mut BTreeMap<String, ByteString>)| {
        let mut data = keyring.to_data();
        change(&mut data);
        Keyring::from_data(SUBJECT, &data).unwrap_err().to_string()
    };
    assert_eq!(wrong(&|data| drop(data.remove("ca.crt"))), "it lacks ca.crt");
    assert_eq!(wrong(&|data| drop(data.remove("ca.key"))), "it lacks ca.key");
    assert_eq!(
        wrong(&|data| drop(data.insert("ca.crt".into(), ByteString(b"x".to_vec())))),
        "its ca.crt cannot be used"
    );
    assert_eq!(wrong(&|data| drop(data.insert("ca.key".into(), ByteString(vec![0xff])))), "its ca.key is no text");
}

#[test]
fn the_next_authority_signs_only_after_it_was_published_long_enough() {
    let ends = Ends { current: at(120), next: None, announced: None, previous: None };
    let due = |ends, everywhere, now| step(ends, everywhere, at(now), &LIFETIMES);
    assert_eq!(due(ends, None, 79), None);
    assert_eq!(due(ends, None, 81), Some(Step::Prepare));
    let prepared = Ends { next: Some(at(200)), ..ends };
    assert_eq!(due(prepared, None, 100), None);
    assert_eq!(due(prepared, Some(false), 100), None);
    assert_eq!(due(prepared, Some(true), 100), Some(Step::Announce));
    let announced = |at| Ends { announced: Some(at), ..prepared };
    assert_eq!(due(announced(at(91)), Some(true), 100), None);
    assert_eq!(due(announced(at(90)), Some(true), 100), Some(Step::Promote));
    assert_eq!(due(announced(at(90)), None, 100), Some(Step::Promote), "a new leader does not begin to wait anew");
    assert_eq!(due(announced(at(90)), Some(false), 100), Some(Step::Withdraw), "some clients lost it");
    // Whoever trusted the current one cannot any more: waiting helps nobody.
    assert_eq!(due(prepared, None, 121), Some(Step::Promote));
    assert_eq!(due(ends, None, 121), Some(Step::Restart));
    assert_eq!(due(Ends { previous: Some(at(90)), ..ends }, None, 90), Some(Step::Forget));
    // Two predecessors are never out there at once.
    let crowded = Ends { previous: Some(at(110)), ..announced(at(40)) };
    assert_eq!(due(crowded, Some(true), 100), None);
}

#[test]
fn an_authority_that_is_nearly_over_is_followed_before_it_is() {
    let ends = Ends { current: at(12), next: Some(at(200)), announced: Some(at(0)), previous: None };
    assert_eq!(step(ends, Some(true), at(5), &LIFETIMES), None);
    assert_eq!(step(ends, Some(true), at(6), &LIFETIMES), Some(Step::Promote));
    let paced = |left| pace(&LIFETIMES, Duration::from_secs(left));
    let [short, nearly, over] = [Duration::from_millis(2_500), Duration::from_secs(1), Duration::from_millis(500)];
    assert_eq!([paced(100), paced(4), paced(0)], [short, nearly, over]);
}

#[test]
fn a_shorter_lifetime_is_heeded_at_once() {
    let long = Ends { current: at(3600), next: None, announced: None, previous: None };
    assert_eq!(step(long, None, at(0), &LIFETIMES), Some(Step::Prepare));
}

/// What a client has read, and what a replica shows, each some time ago.
#[derive(Default)]
struct World {
    /// The bundles published so far, with their times; API servers read any of the last `settle`.
    published: VecDeque<(u64, String)>,
    /// The keyrings written so far.
    written: VecDeque<(u64, Arc<Keyring>)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A leader that crashes and is slow, API servers that read bundles late, replicas that read the Secret late: what a
    /// replica shows is trusted by every API server at every second.
    #[test]
    fn whatever_is_shown_is_trusted_at_every_moment(
        looks in prop::collection::vec((any::<bool>(), any::<bool>()), 600),
        lags in prop::collection::vec((0_u64..10, 0_u64..10), 3),
    ) {
        let mut keyring = Arc::new(Keyring::found(SUBJECT, at(0), &LIFETIMES).unwrap());
        let mut world = World::default();
        world.published.push_back((0, keyring.bundle()));
        world.written.push_back((0, Arc::clone(&keyring)));
        let mut leaves: Vec<Option<(String, SystemTime, u64)>> = vec![None; lags.len()];
        let mut rotations = 0;
        for (second, (awake, crashes)) in (10_u64..).zip(looks) {
            // The leader: each of its writes is a turn of its own, of which crashes cost some. It remembers nothing between
            // them. One that is away for longer than a third of an authority's life cannot keep anything alive.
            if awake && !crashes || second % 4 == 0 {
                let bundle = keyring.bundle();
                if world.published.back().unwrap().1 == bundle {
                    if let Some(due) = step(keyring.ends(), Some(true), at(second), &LIFETIMES) {
                        rotations += u32::from(due == Step::Promote);
                        keyring = Arc::new(keyring.after(due, SUBJECT, at(second), &LIFETIMES).unwrap());
                        world.written.push_back((second, Arc::clone(&keyring)));
                    }
                } else {
                    world.published.push_back((second, bundle));
                }
            }
            let read = |lag: u64, list: &VecDeque<(u64, Arc<Keyring>)>| {
                list.iter().rev().find(|(written, _)| written + lag <= second).map(|(_, keyring)| Arc::clone(keyring))
            };
            for (leaf, (replica_lag, _)) in leaves.iter_mut().zip(&lags) {
                let current = read(*replica_lag, &world.written).expect("the first is there").current.certificate().clone();
                let stale = leaf.as_ref().is_none_or(|(issuer, expires, signed)| {
                    *issuer != current.pem || at(second) >= *expires || second - signed >= 30
                });
                if stale {
                    let expires = (at(second) + LIFETIMES.leaf).min(current.expires);
                    *leaf = Some((current.pem, expires, second));
                }
                let (issuer, expires, _) = leaf.as_ref().expect("signed above");
                prop_assert!(*expires > at(second), "expired at {second}");
                for (_, api_lag) in &lags {
                    let trusted = world.published.iter().rev().find(|(published, _)| published + api_lag <= second);
                    prop_assert!(trusted.expect("the first is there").1.contains(issuer), "untrusted at {second}");
                }
            }
        }
        prop_assert!(rotations >= 4, "{rotations} rotations in ten minutes");
    }
}
