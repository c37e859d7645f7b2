//! Members, and the rule that gives each key to one of them.

use crate::{
    key::{self, Key},
    rendezvous::Seeds,
    veneur::Circle,
};

/// The rule that gives each key to a member. All proxies of a fleet need the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Rendezvous hashing over the members' names: the most even, and the default. With 10 members the fullest has 1.01
    /// times the mean.
    #[default]
    Rendezvous,
    /// The original's ring over the members' addresses, to share a fleet with its proxies. With 10 members the fullest
    /// has 1.55 times the mean.
    Veneur,
}

/// One member of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// Stable identity: what rendezvous hashes. A pod's name, or the address where nothing better is known.
    pub name: String,
    /// `host:port` to dial: what the original's ring hashes, text for text. `grpc+unary://` before it says how the member
    /// is spoken to, is no word of the original's, and is not hashed.
    pub address: String,
}

impl Member {
    fn hashed_address(&self) -> &str {
        self.address.strip_prefix("grpc+unary://").unwrap_or(&self.address)
    }
}

/// Members and where each of them stands.
///
/// Removing a member moves only its own keys, and adding one takes keys only for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    members: Vec<Member>,
    places: Places,
    hash: u64,
}

/// What a key is compared with, by the index of members.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    Rendezvous(Seeds),
    Veneur(Circle),
}

impl Algorithm {
    /// What tells members apart: equal texts are one place on the ring, whatever else differs.
    pub fn identity(self, member: &Member) -> &str {
        match self {
            Self::Rendezvous => &member.name,
            Self::Veneur => member.hashed_address(),
        }
    }
}

impl Ring {
    /// Sorts by name. Of several members with one name the first in order of address stays, and on the original's ring
    /// of several with one address the first in order of name, so that the order of listing does not matter.
    pub fn new(algorithm: Algorithm, mut members: Vec<Member>) -> Self {
        members.sort_unstable();
        members.dedup_by(|later, kept| later.name == kept.name);
        let (places, hash) = match algorithm {
            Algorithm::Rendezvous => {
                let names = || members.iter().map(|member| member.name.as_str());
                (Places::Rendezvous(Seeds::new(names())), key::hash(key::RENDEZVOUS_V1, names()))
            }
            Algorithm::Veneur => {
                let mut seen = std::collections::HashSet::new();
                members.retain(|member| seen.insert(member.hashed_address().to_owned()));
                let mut addresses: Vec<&str> = members.iter().map(Member::hashed_address).collect();
                let circle = Circle::new(&addresses);
                addresses.sort_unstable();
                (Places::Veneur(circle), key::hash(key::VENEUR_V1, addresses))
            }
        };
        Self { members, places, hash }
    }

    /// The rule it follows.
    pub fn algorithm(&self) -> Algorithm {
        match self.places {
            Places::Rendezvous(_) => Algorithm::Rendezvous,
            Places::Veneur(_) => Algorithm::Veneur,
        }
    }

    /// The member that owns `key`; `None` only in an empty ring.
    pub fn owner(&self, key: Key) -> Option<&Member> {
        let index = match &self.places {
            Places::Rendezvous(seeds) => seeds.highest(key),
            Places::Veneur(circle) => circle.next(key, |_| true),
        };
        index.map(|index| &self.members[index])
    }

    /// The owner among the members that `admitted` lets pass: the very one a ring of only those would name. Gives the
    /// second choice while the first is dead, and the owner as if a leaver were absent.
    pub fn owner_among(&self, key: Key, admitted: impl Fn(&Member) -> bool) -> Option<&Member> {
        let admitted = |index: usize| admitted(&self.members[index]);
        let index = match &self.places {
            Places::Rendezvous(seeds) => seeds.highest_among(key, admitted),
            Places::Veneur(circle) => circle.next(key, admitted),
        };
        index.map(|index| &self.members[index])
    }

    /// Equal on all proxies exactly if they route alike: over the algorithm, its version, and the names, or for the
    /// original's ring the addresses.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The members, by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        let found = self.members.binary_search_by(|member| member.name.as_str().cmp(name));
        found.ok().map(|index| &self.members[index])
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
