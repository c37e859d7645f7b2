//! The names of contexts, each text once.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::Seed;

/// Names that are looked through for those of no use before there are more.
const FIRST: usize = 64;

/// Names that contexts share: a service sends one name with many sets of tags. Less memory, and mostly in the cache
/// when an interval is published.
#[derive(Debug)]
pub(crate) struct Names {
    seed: Seed,
    shared: HashTable<Arc<str>>,
    /// How many there may be before those that no context has any more are let go.
    most: usize,
}

impl Names {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, shared: HashTable::new(), most: FIRST }
    }

    /// The one name of this text.
    pub(crate) fn one(&mut self, name: Arc<str>) -> Arc<str> {
        let hash = self.seed.hash_name(&name);
        if let Some(known) = self.shared.find(hash, |known| **known == *name) {
            return Arc::clone(known);
        }
        if self.shared.len() >= self.most {
            self.shared.retain(|name| Arc::strong_count(name) > 1);
            self.most = (self.shared.len() * 2).max(FIRST);
        }
        let seed = self.seed;
        self.shared.insert_unique(hash, Arc::clone(&name), |name| seed.hash_name(name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_and_those_without_a_context_are_let_go() {
        let mut names = Names::new(Seed::FIXED);
        let first = names.one("a".into());
        assert!(Arc::ptr_eq(&first, &names.one("a".into())));
        for number in 0..10_000 {
            drop(names.one(number.to_string().into()));
        }
        assert!(names.shared.len() <= FIRST, "{}", names.shared.len());
        assert!(Arc::ptr_eq(&first, &names.one("a".into())));
    }
}
