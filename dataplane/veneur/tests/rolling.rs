//! Restarts and deaths of real processes under constant load: what arrives at the sink is what was sent.

mod fleet;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fleet::{Fleet, PATIENCE, Plan, SERIES, Sender};

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
    let killed_after = sent(&senders);
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
    let outage = sent(&senders) - killed_after;
    fleet.globals[1].start_again().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = fleet.proxies[0].status().await;
    let sent: u64 = senders.into_iter().map(Sender::end).sum();
    fleet.stop().await;

    let totals = fleet.totals();
    let requests = sum(&totals, "fleet.requests.", "");
    let lost = sent as f64 - requests;
    // 400 a second, a third of them at the killed one.
    assert!((0.0..=400.0 / 3.0 * 1.6).contains(&lost), "{lost} of {sent} lost\n{}", fleet.logs());
    let ledger = &status["ledgers"]["forward"];
    let bound = ledger["lost_with_member"].as_u64().expect("counted") + ledger["uncertain"].as_u64().expect("counted");
    // Partials: in an interval each of two pods sends two for each series.
    assert!(lost < 0.5 || bound > 0, "{lost} lost, and no ledger knows: {ledger:#}");
    assert!(bound <= (SERIES * 2 * 2) as u64, "{ledger:#}");
    // No other series lost anything: each got the same number of datagrams, but for the last round.
    let fewest = sent / SERIES as u64 - 2;
    let short = (0..SERIES).filter(|series| totals[&format!("fleet.requests.{series}")] < fewest as f64).count();
    assert!(short < SERIES / 2, "{short} of {SERIES} series lost something: {totals:#?}");
    println!(
        "{sent} sent, {lost} lost with the killed global, of {short} series ({bound} partials by the ledger); all \
         series are published again after {outage} more"
    );
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
