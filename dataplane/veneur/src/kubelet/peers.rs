//! What a Unix socket tells of samples that do not say themselves who sends them.

use std::collections::HashMap;

use veneur_dogstatsd::Cardinality;

use crate::listen::origin::Origin;

/// Peers at a time.
const MOST: usize = 4_096;

/// The peers of one intake, as far as they are containers.
#[derive(Debug, Default)]
pub(crate) struct Peers(HashMap<Origin, Option<Peer>>);

/// A peer that is a container, in the protocol's words: alone, and with each cardinality.
#[derive(Debug)]
pub(crate) struct Peer {
    alone: String,
    with: [String; Cardinality::ALL.len()],
}

impl Peers {
    /// The peer that a socket told; `None` if it is no container.
    pub(crate) fn peer(&mut self, origin: Origin) -> Option<&Peer> {
        if origin == Origin::UNKNOWN {
            return None;
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.entry(origin).or_insert_with(|| origin.container().map(|id| Peer::new(&id))).as_ref()
    }

    /// The number of an origin may be given to another one after a while.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

impl Peer {
    fn new(id: &str) -> Self {
        Self {
            alone: format!("c:ci-{id}"),
            with: Cardinality::ALL.map(|asked| format!("c:ci-{id}|card:{}", asked.as_str())),
        }
    }

    /// The sections that say who sends: those that were sent, if they name somebody.
    pub(crate) fn or<'a>(&'a self, sent: &'a [u8]) -> &'a [u8] {
        match sent.strip_prefix(b"card:") {
            None if sent.is_empty() => self.alone.as_bytes(),
            Some(word) if !word.contains(&b'|') => {
                let at = Cardinality::ALL.iter().position(|known| known.as_str().as_bytes() == word);
                at.map_or(&self.alone, |at| &self.with[at]).as_bytes()
            }
            _ => sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_counts_before_what_the_socket_tells() {
        let peer = Peer::new("4f2a");
        let or = |sent: &'static str| String::from_utf8_lossy(peer.or(sent.as_bytes())).into_owned();
        assert_eq!(or(""), "c:ci-4f2a");
        assert_eq!(or("card:high"), "c:ci-4f2a|card:high");
        assert_eq!(or("card:all"), "c:ci-4f2a");
        assert_eq!(or("c:in-7"), "c:in-7");
        assert_eq!(or("card:low|e:pu-9"), "card:low|e:pu-9");
    }

    #[test]
    fn a_peer_that_is_no_container_is_nobody() {
        let pid = i32::try_from(std::process::id()).expect("an id");
        let origin = Origin::of_process(pid);
        let mut peers = Peers::default();
        assert_eq!(peers.peer(origin).is_some(), origin.container().is_some());
        assert!(peers.peer(Origin::UNKNOWN).is_none());
    }
}
