//! Restarts and deaths of real processes under constant load: what arrives at the sink is what was sent.

mod fleet;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fleet::{Fleet, PATIENCE, Plan, SERIES, Sender};
use veneur_ring::{Algorithm, Hashing, Member, Ring};

/// How long the load lasts, in intervals of one second.
const INTERVALS: u64 = 20;

fn sum(totals: &BTreeMap<String, f64>, prefix: &str, suffix: &str) -> f64 {
    totals.iter().filter(|(name, _)| name.starts_with(prefix) && name.ends_with(suffix)).map(|(_, total)| total).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_all_tiers_under_load_loses_nothing() {
    let mut fleet = Fleet::start(Plan { locals: 2, proxies: 2, globals: 3 }).await;
    let senders: Vec<Sender> = fleet.locals.iter().map(|(_, udp)| Sender::start(*udp)).collect();
    let begun = Instant::now();
    for global in &mut fleet.globals {
        global.restart().await;
    }
    for proxy in &mut fleet.proxies {
        proxy.restart().await;
    }
    for ((local, _), sender) in fleet.locals.iter_mut().zip(&senders) {
        sender.pause().await;
        local.restart().await;
        sender.go_on();
    }
    tokio::time::sleep(Duration::from_secs(INTERVALS).saturating_sub(begun.elapsed())).await;
    let sent: u64 = senders.into_iter().map(Sender::end).sum();
    fleet.stop().await;

    let totals = fleet.totals();
    let (requests, timings) = (sum(&totals, "fleet.requests.", ""), sum(&totals, "fleet.latency.", ".count"));
    assert!(
        (requests - sent as f64).abs() < 1e-6 && (timings - sent as f64).abs() < 1e-6,
        "{sent} sent, {requests} counted, {timings} timed\n{}",
        fleet.logs()
    );
    assert_eq!(fleet.intake.problems(), Vec::<String>::new());
    println!("{sent} increments and as many timings, all there after {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_global_costs_at_most_its_share_of_one_interval() {
    let mut fleet = Fleet::start(Plan { locals: 2, proxies: 1, globals: 3 }).await;
    let senders: Vec<Sender> = fleet.locals.iter().map(|(_, udp)| Sender::start(*udp)).collect();
    let sent = |senders: &[Sender]| senders.iter().map(Sender::sent).sum::<u64>();
    until("every series is published", || fleet.totals().len() >= SERIES * 2).await;
    // At the worst moment: the interval's partials are acknowledged, and published 250 ms after the boundary.
    until("an interval has just ended", || (120..180).contains(&(veneur::clock::now_ms() % 1_000))).await;
    fleet.globals[1].kill();
    let (killed_after, killed_at) = (sent(&senders), Instant::now());
    let series_then = published(&fleet);
    // Full service by the next flush: everything that is sent is published again.
    until("every series is published again", || {
        let now = published(&fleet);
        (0..SERIES).all(|series| {
            let name = format!("fleet.requests.{series}");
            now.get(&name).copied().unwrap_or_default() >= series_then.get(&name).copied().unwrap_or_default() + 2
        })
    })
    .await;
    // The interval that is lost, the next one, and the one after it for the second point; and some for a busy machine.
    let service_after = killed_at.elapsed();
    assert!(service_after < Duration::from_secs(5), "full service after {service_after:?}\n{}", fleet.logs());
    let outage = sent(&senders) - killed_after;
    fleet.globals[1].start_again().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = fleet.proxies[0].status().await;
    let each: Vec<u64> = senders.into_iter().map(Sender::end).collect();
    let sent: u64 = each.iter().sum();
    fleet.stop().await;

    let totals = fleet.totals();
    let requests = sum(&totals, "fleet.requests.", "");
    let lost = sent as f64 - requests;
    let owned =
        (0..SERIES).filter(|series| is_owned(&fleet, 1, &format!("fleet.requests.{series}"), "counter")).count();
    assert!((1..SERIES).contains(&owned), "{owned} of {SERIES} series are the killed one's");
    // 10 of each series a second; an interval of a busy machine is longer.
    let most = owned as f64 * 10.0 * 1.6;
    assert!((0.0..=most).contains(&lost), "{lost} of {sent} lost, {most} at the most\n{}", fleet.logs());
    let ledger = &status["ledgers"]["forward"];
    let bound = ledger["lost_with_member"].as_u64().expect("counted") + ledger["uncertain"].as_u64().expect("counted");
    // Partials: in an interval each of two pods sends two for each series.
    assert!(lost < 0.5 || bound > 0, "{lost} lost, and no ledger knows: {ledger:#}");
    assert!(bound <= (SERIES * 2 * 2) as u64, "{ledger:#}");
    // No other series lost anything.
    for series in 0..SERIES {
        let sent: u64 = each.iter().map(|sent| (sent + (SERIES - 1 - series) as u64) / SERIES as u64).sum();
        let kinds = [
            (format!("fleet.requests.{series}"), "", "counter"),
            (format!("fleet.latency.{series}"), ".count", "timer"),
        ];
        for (name, suffix, kind) in kinds {
            let total = totals[&format!("{name}{suffix}")];
            let whole = (total - sent as f64).abs() < 1e-6;
            assert!(whole || is_owned(&fleet, 1, &name, kind), "{name}: {total} of {sent}\n{}", fleet.logs());
        }
    }
    println!(
        "{sent} sent, {lost} lost with the killed global, which had {owned} series ({bound} partials by the ledger); all \
         series are published again after {outage} more, in {service_after:?}"
    );
}

/// Whether a context without tags is one of this global's, while all are there.
fn is_owned(fleet: &Fleet, global: usize, name: &str, kind: &str) -> bool {
    let members = fleet.members.iter().map(|address| Member { name: address.clone(), address: address.clone() });
    let ring = Ring::new(Algorithm::default(), members.collect());
    let owner = ring.owner(Hashing::default().context(name, kind, ""));
    owner.is_some_and(|owner| owner.name == fleet.members[global])
}

/// Points of each metric so far.
fn published(fleet: &Fleet) -> BTreeMap<String, usize> {
    let mut points = BTreeMap::new();
    fleet.intake.received().into_iter().for_each(|point| *points.entry(point.metric).or_default() += 1);
    points
}

async fn until(what: &str, met: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "waited until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
