//! What a listener's readers put samples into: one table and its ledgers, locked once a read.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use veneur_aggregate::{BATCH, Budget, Cells, Inserted, Notices, Rules, Seed, Table};
use veneur_dogstatsd::{Claim, Explicit, Item, Refused, Skipped, context_tags, event, parse_datagram, service_check};
use veneur_metric::{Check, Event, Sample, Scope, Tags};

use super::origin::Origin;
use crate::{
    account::{Ingest, IngestAccount},
    clock,
    kubelet::{Kubelet, Peer, Peers},
};

/// Bytes of events and service checks that one intake keeps in an interval.
const NOTICES_BYTES: usize = 4 * 1024 * 1024;

/// What the tables of a process have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// How contexts are formed.
    pub rules: Arc<Rules>,
    /// How much all tables may keep.
    pub budget: Arc<Budget>,
    /// Keys of fingerprints.
    pub seed: Seed,
    /// In node mode, who is who there.
    pub kubelet: Option<Arc<Kubelet>>,
}

impl Shared {
    /// With keys drawn now.
    pub fn new(rules: Rules, budget: Arc<Budget>, kubelet: Option<Arc<Kubelet>>) -> Self {
        // The standard library's hasher has random keys of its own; what it makes of a few numbers is random too.
        let random = RandomState::new();
        let seed = Seed::new([1, 2, 3, 4, 5, 6].map(|number: u64| random.hash_one(number)));
        Self { rules: Arc::new(rules), budget, seed, kubelet }
    }
}

/// A table and its ledgers.
///
/// A UDP reader has one of its own, and so never waits for its lock but while a flush takes the table. The connections
/// of a stream listener share one, and hold the lock only for the bytes they have in hand.
#[derive(Debug)]
pub(crate) struct Intake {
    account: Arc<IngestAccount>,
    filling: Mutex<Filling>,
}

#[derive(Debug)]
struct Filling {
    table: Table,
    rules: Arc<Rules>,
    notices: Notices,
    /// Values by who sent them, as far as that is known. Bounded as origins are.
    origins: BTreeMap<Origin, u64>,
    node: Option<(Arc<Kubelet>, Peers)>,
}

/// What an intake took in since it was asked last.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) cells: Cells,
    pub(crate) events: Vec<Event>,
    pub(crate) checks: Vec<Check>,
}

impl Intake {
    pub(crate) fn new(shared: &Shared, account: Arc<IngestAccount>) -> Self {
        let Shared { rules, budget, seed, kubelet } = shared.clone();
        let filling = Filling {
            table: Table::new(seed, Arc::clone(&rules), budget),
            rules,
            notices: Notices::new(NOTICES_BYTES),
            origins: BTreeMap::new(),
            node: kubelet.map(|kubelet| (kubelet, Peers::default())),
        };
        Self { account, filling: Mutex::new(filling) }
    }

    /// For one read. The ledger is updated when it is dropped, before anyone else can open the table.
    pub(crate) fn open(&self) -> Open<'_> {
        Open { account: &self.account, filling: self.lock(), seen: Ingest::default(), now_s: clock::now_ms() / 1_000 }
    }

    /// What was taken in so far; the next interval begins.
    pub(crate) fn take(&self) -> Taken {
        let mut filling = self.lock();
        let (events, checks) = filling.notices.drain();
        if let Some((_, peers)) = &mut filling.node {
            peers.forget();
        }
        Taken { cells: filling.table.take(), events, checks }
    }

    /// Forms contexts by other rules from now on.
    pub(crate) fn follow(&self, rules: &Arc<Rules>) {
        let mut filling = self.lock();
        filling.rules = Arc::clone(rules);
        filling.table.follow(Arc::clone(rules));
    }

    /// Forms all contexts anew, by the same rules: more is known of who sends them.
    pub(crate) fn form_anew(&self) {
        let mut filling = self.lock();
        let rules = Arc::clone(&filling.rules);
        filling.table.follow(rules);
    }

    /// Who sent how many values.
    pub(crate) fn origins(&self) -> BTreeMap<Origin, u64> {
        self.lock().origins.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An intake while something is read into it.
#[derive(Debug)]
pub(crate) struct Open<'a> {
    account: &'a IngestAccount,
    filling: MutexGuard<'a, Filling>,
    seen: Ingest,
    now_s: u64,
}

impl Open<'_> {
    /// Takes in a packet: lines with `\n` between them.
    pub(crate) fn packet(&mut self, packet: &[u8], origin: Origin) {
        self.packets([packet].into_iter(), origin);
    }

    /// Takes in the packets of one read.
    pub(crate) fn packets<'p>(&mut self, packets: impl Iterator<Item = &'p [u8]>, origin: Origin) {
        let mut read = 0;
        self.parse(packets.inspect(|_| read += 1), origin);
        self.seen.datagrams.read += read;
    }

    /// Takes in lines of a stream, with `\n` between them.
    pub(crate) fn lines(&mut self, lines: &[u8], origin: Origin) {
        self.parse([lines].into_iter(), origin);
    }

    /// Counts a line that is in no table.
    pub(crate) fn refuse(&mut self, reason: &'static str) {
        self.seen.samples.parsed += 1;
        self.seen.samples.refuse(reason);
    }

    /// Counts a packet that was read and is dropped whole.
    pub(crate) fn refuse_packet(&mut self, reason: &'static str) {
        self.seen.datagrams.read += 1;
        self.refuse(reason);
    }

    fn parse<'p>(&mut self, packets: impl Iterator<Item = &'p [u8]>, origin: Origin) {
        let Self { filling, seen, now_s, .. } = self;
        let Filling { table, rules, notices, origins, node } = &mut **filling;
        let (kubelet, peer) = match node {
            Some((kubelet, peers)) => (Some(&**kubelet), peers.peer(origin)),
            None => (None, None),
        };
        let read = |sample: &Sample<'_>| read(sample, kubelet);
        let samples = &mut seen.samples;
        let before = samples.parsed;
        let (mut batch, mut filled, mut inserted) = ([Sample::NONE; BATCH], 0, Inserted::default());
        for packet in packets {
            let skipped = parse_datagram(packet, |item| {
                samples.parsed += 1;
                match item {
                    Ok(Item::Sample(sample)) => {
                        if filled == BATCH {
                            sent_by(peer, &mut batch);
                            inserted.add(table.insert(&batch, *now_s, origin.number(), read));
                            filled = 0;
                        }
                        batch[filled] = sample;
                        filled += 1;
                    }
                    Ok(notice) => match take_notice(notice, rules, kubelet, peer, notices) {
                        Ok(Skipped(sections)) => {
                            samples.aggregated += 1;
                            samples.skipped_sections += u64::from(sections);
                        }
                        Err(reason) => samples.refuse(reason),
                    },
                    Err(refused) => samples.refuse(refused.reason()),
                }
            });
            samples.skipped_sections += u64::from(skipped.0);
        }
        sent_by(peer, &mut batch[..filled]);
        inserted.add(table.insert(&batch[..filled], *now_s, origin.number(), read));
        samples.aggregated += inserted.aggregated;
        samples.folded += inserted.folded;
        samples.untimely += inserted.untimely;
        if inserted.overflow > 0 {
            *samples.refused.entry("overflow").or_default() += inserted.overflow;
        }
        if origin != Origin::UNKNOWN {
            *origins.entry(origin).or_default() += samples.parsed - before;
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.account.lock().add(&self.seen);
    }
}

fn read(sample: &Sample<'_>, kubelet: Option<&Kubelet>) -> (Tags, Scope) {
    let Explicit { tags, scope } = context_tags(sample.tags);
    let tags = match kubelet {
        Some(kubelet) => kubelet.extend(tags, &Claim::parse(sample.origin).or_tags(sample.tags)),
        None => tags,
    };
    (tags, scope)
}

/// Samples that do not say who sends them say what the socket told.
fn sent_by<'a>(peer: Option<&'a Peer>, batch: &mut [Sample<'a>]) {
    if let Some(peer) = peer {
        batch.iter_mut().for_each(|sample| sample.origin = peer.or(sample.origin));
    }
}

/// Keeps an event or a service check, or says why not.
fn take_notice(
    item: Item<'_>,
    rules: &Rules,
    kubelet: Option<&Kubelet>,
    peer: Option<&Peer>,
    notices: &mut Notices,
) -> Result<Skipped, &'static str> {
    let refused = |refused: Refused| refused.reason();
    let of_sender = |kubelet: &Kubelet, tags: &Tags, fields: &[u8]| {
        kubelet.extend(tags.clone(), &Claim::of_fields(fields, peer.map_or(&[], |peer| peer.or(&[]))))
    };
    let (kept, skipped) = match item {
        Item::Event(text) => {
            let (mut event, skipped) = event::parse(text).map_err(refused)?;
            if let Some(kubelet) = kubelet {
                let extended = of_sender(kubelet, &event.tags, event::fields(text));
                event.tags = Tags::unique(extended.iter().chain(event.tags.iter()));
            }
            event.tags = event.tags.without(&rules.drop_tags).extended_unique(&rules.extend_tags);
            (notices.event(event), skipped)
        }
        Item::ServiceCheck(text) => {
            let (mut check, skipped) = service_check::parse(text).map_err(refused)?;
            if let Some(kubelet) = kubelet {
                check.tags = of_sender(kubelet, &check.tags, service_check::fields(text));
            }
            check.tags = check.tags.without(&rules.drop_tags).extended(&rules.extend_tags);
            (notices.check(check), skipped)
        }
        Item::Sample(_) => unreachable!("samples go into the table"),
    };
    if kept { Ok(skipped) } else { Err("notice_limit") }
}
