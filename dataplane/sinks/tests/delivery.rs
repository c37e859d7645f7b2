//! The account closes whatever a backend does. Time is paused: seconds of backoff cost nothing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep, timeout};
use veneur_metric::{Check, Point, PointKind, Status, Tags};
use veneur_sinks::{BlackholeSink, Delivery, Encoded, Items, Limits, Part, Payload, SendError, Sink, SinkLedger};

/// What the backend does to one attempt; after the script it takes everything.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Take,
    TakeAfter(Duration),
    Refuse,
    Away,
}

#[derive(Debug, Default)]
struct Backend {
    script: Mutex<Vec<Answer>>,
    taken: Mutex<Vec<String>>,
}

struct Scripted {
    backend: Arc<Backend>,
    per_payload: usize,
}

impl Sink for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn encode(&self, items: &Items) -> Encoded {
        let points = &items.points;
        assert!(!points.iter().any(|point| &*point.name == "poison"), "an encoder's bug");
        let chunks = points.chunks(self.per_payload);
        let body = |points: &[Point]| points.iter().map(|point| &*point.name).collect::<Vec<_>>().join("\n");
        let payload = |points: &[Point]| Payload { part: Part::Points, items: points.len(), body: body(points).into() };
        chunks.map(payload).collect::<Vec<_>>().into()
    }

    async fn send(&self, payload: &Payload) -> Result<(), SendError> {
        let answer = self.backend.script.lock().unwrap().pop().unwrap_or(Answer::Take);
        match answer {
            Answer::Away => return Err(SendError::Unavailable("away".to_owned())),
            Answer::Refuse => return Err(SendError::Rejected { status: 403, body_start: "no".to_owned() }),
            Answer::TakeAfter(delay) => sleep(delay).await,
            Answer::Take => {}
        }
        let names = String::from_utf8_lossy(&payload.body);
        self.backend.taken.lock().unwrap().extend(names.lines().map(str::to_owned));
        Ok(())
    }
}

const ROOMY: Limits = Limits { max_bytes: 1 << 20, max_age: Duration::from_mins(1) };

fn delivery(script: &[Answer], limits: Limits) -> (Delivery, Arc<Backend>) {
    let script = Mutex::new(script.iter().rev().copied().collect());
    let backend = Arc::new(Backend { script, taken: Mutex::default() });
    (Delivery::new(Scripted { backend: Arc::clone(&backend), per_payload: 3 }, limits), backend)
}

fn points(names: impl IntoIterator<Item = u64>) -> Vec<Point> {
    names.into_iter().map(|name| point(&name.to_string())).collect()
}

fn point(name: &str) -> Point {
    let (name, tags, kind) = (name.into(), Tags::none(), PointKind::Gauge);
    Point { name, tags, kind, value: 1.0, timestamp: 0, interval: Duration::from_secs(10) }
}

fn unaccounted(ledger: &SinkLedger) -> i128 {
    let known = ledger.published + ledger.held + ledger.dropped.values().sum::<u64>();
    i128::from(ledger.produced) - i128::from(known)
}

async fn settled(delivery: &Delivery) -> SinkLedger {
    let settled = async {
        while delivery.ledger().held > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_mins(10), settled).await.expect("nothing is held for ever");
    delivery.ledger()
}

#[tokio::test(start_paused = true)]
async fn an_absent_backend_gets_everything_in_order_when_it_is_back() {
    let (delivery, backend) = delivery(&[Answer::Away; 4], ROOMY);
    let start = Instant::now();
    delivery.offer(points(0..4));
    let ledger = settled(&delivery).await;
    // Pauses of 0.5, 1, 2 and 4 s.
    assert_eq!(start.elapsed().as_millis() / 100, 75);
    assert_eq!((ledger.published, delivery.state().consecutive_failures), (4, 0));
    assert_eq!(*backend.taken.lock().unwrap(), ["0", "1", "2", "3"]);
    assert!(delivery.state().last_error.is_some_and(|error| error.contains("away")));
}

#[tokio::test(start_paused = true)]
async fn refused_points_are_not_sent_again() {
    let (delivery, backend) = delivery(&[Answer::Refuse], ROOMY);
    delivery.offer(points(0..5));
    let ledger = settled(&delivery).await;
    assert_eq!((ledger.published, ledger.dropped["rejected"]), (2, 3));
    assert_eq!(*backend.taken.lock().unwrap(), ["3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bytes_the_oldest_go_first() {
    let limits = Limits { max_bytes: 1_000, ..ROOMY };
    let (delivery, backend) = delivery(&[Answer::Away; 3], limits);
    for batch in 0..20 {
        delivery.offer(points([batch]));
        advance(Duration::from_millis(10)).await;
    }
    let ledger = settled(&delivery).await;
    assert!(ledger.dropped["queue_full"] >= 5, "{ledger:?}");
    assert_eq!(backend.taken.lock().unwrap().last().map(String::as_str), Some("19"));
}

#[tokio::test(start_paused = true)]
async fn points_expire_while_the_backend_is_away() {
    let (delivery, _) = delivery(&[Answer::Away; 100], ROOMY);
    delivery.offer(points(0..3));
    let start = Instant::now();
    let ledger = settled(&delivery).await;
    assert_eq!(ledger.dropped["expired"], 3);
    assert!((60..=71).contains(&start.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn draining_tries_at_once_and_ends_at_the_deadline() {
    let (kept, backend) = delivery(&[Answer::Away; 6], ROOMY);
    kept.offer(points(0..3));
    sleep(Duration::from_secs(10)).await;
    backend.script.lock().unwrap().clear();
    let start = Instant::now();
    let ledger = kept.drain(start + Duration::from_secs(5)).await;
    assert_eq!((ledger.published, ledger.held), (3, 0));
    assert!(start.elapsed() < Duration::from_millis(10));

    let (lost, _) = delivery(&[Answer::TakeAfter(Duration::from_secs(9))], ROOMY);
    lost.offer(points(0..5));
    let ledger = lost.drain(Instant::now() + Duration::from_secs(5)).await;
    assert_eq!((ledger.dropped["shutdown"], ledger.held), (5, 0));
    lost.offer(points(0..1));
    assert_eq!(unaccounted(&lost.ledger()), 0);
    assert_eq!(lost.ledger().dropped["shutdown"], 6);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_encoder_costs_its_points_only() {
    let (delivery, _) = delivery(&[], ROOMY);
    delivery.offer(vec![point("poison")]);
    settled(&delivery).await;
    delivery.offer(points(0..2));
    let ledger = settled(&delivery).await;
    assert_eq!((ledger.published, ledger.dropped["unencodable"]), (2, 1));
}

fn check(name: &str) -> Check {
    let (name, message) = (name.into(), Some("fine".into()));
    Check { name, status: Status::Ok, timestamp: Some(0), host: None, message, tags: Tags::none() }
}

#[tokio::test(start_paused = true)]
async fn what_a_sink_has_no_form_for_is_counted_and_harms_nothing_else() {
    let (delivery, backend) = delivery(&[], ROOMY);
    delivery.offer(Items { points: points(0..2), checks: vec![check("db"); 3], ..Items::default() });
    let ledger = settled(&delivery).await;
    assert_eq!((ledger.produced, ledger.published, ledger.dropped["unencodable"]), (5, 2, 3));
    assert_eq!(*backend.taken.lock().unwrap(), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_blackhole_publishes_everything() {
    let delivery = Delivery::new(BlackholeSink::new("hole"), ROOMY);
    delivery.offer(points(0..4));
    delivery.offer(vec![check("db")]);
    let ledger = delivery.drain(Instant::now() + Duration::from_secs(5)).await;
    assert_eq!((ledger.produced, ledger.published), (5, 5));
}

#[derive(Debug, Clone)]
enum Step {
    Offer(u64),
    Wait(Duration),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn account_closes_under_any_sequence_of_outcomes(
        steps in prop::collection::vec(
            prop_oneof![
                (0_u64..12).prop_map(Step::Offer),
                (0_u64..8_000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
            ],
            1..30,
        ),
        script in prop::collection::vec(
            prop_oneof![
                Just(Answer::Take),
                (0_u64..9_000).prop_map(|ms| Answer::TakeAfter(Duration::from_millis(ms))),
                Just(Answer::Refuse),
                Just(Answer::Away),
            ],
            0..40,
        ),
        max_bytes in 0_usize..4_000,
        max_age in (0_u64..20_000).prop_map(Duration::from_millis),
        grace in (0_u64..20_000).prop_map(Duration::from_millis),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (delivery, backend) = delivery(&script, Limits { max_bytes, max_age });
            let mut offered = 0;
            for step in steps {
                match step {
                    Step::Offer(count) => {
                        delivery.offer(points(offered..offered + count));
                        offered += count;
                    }
                    Step::Wait(time) => sleep(time).await,
                }
                let ledger = delivery.ledger();
                prop_assert_eq!((ledger.produced, unaccounted(&ledger)), (offered, 0));
            }
            let ledger = delivery.drain(Instant::now() + grace).await;
            prop_assert_eq!((ledger.produced, ledger.held, unaccounted(&ledger)), (offered, 0, 0));

            let taken: Vec<u64> = backend.taken.lock().unwrap().iter().map(|name| name.parse().unwrap()).collect();
            prop_assert_eq!(taken.len() as u64, ledger.published);
            prop_assert!(taken.is_sorted_by(|a, b| a < b), "in order and once each: {:?}", taken);
            Ok(())
        })?;
    }
}
