//! How contexts become keys.

use regex::Regex;

use crate::{Algorithm, Key};

/// The algorithm of the rings that keys are for, and the tags that do not decide the owner.
#[derive(Debug, Clone, Default)]
pub struct Hashing {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Tags that are left out of what is hashed: contexts that differ in these alone have one owner. All of the
    /// original's `ignore_tags`.
    pub ignored: Vec<TagMatch>,
}

/// A test on a whole tag, `key:value`.
#[derive(Debug, Clone)]
pub enum TagMatch {
    /// The tag equals the text.
    Exact(String),
    /// The tag starts with the text.
    Prefix(String),
    /// The expression matches anywhere in the tag.
    Regex(Regex),
}

impl TagMatch {
    /// One that `expression` has to match. The error says what is wrong with it.
    pub fn regex(expression: &str) -> Result<Self, regex::Error> {
        Regex::new(expression).map(Self::Regex)
    }

    /// Whether `tag` passes.
    pub fn matches(&self, tag: &str) -> bool {
        match self {
            Self::Exact(text) => tag == text,
            Self::Prefix(text) => tag.starts_with(text.as_str()),
            Self::Regex(expression) => expression.is_match(tag),
        }
    }
}

impl Hashing {
    /// The key of a context. `tags_joined` has to be canonical (sorted): that makes permuted tags one key.
    pub fn context(&self, name: &str, kind: &str, tags_joined: &str) -> Key {
        let ignored = |tag: &&str| self.ignored.iter().any(|test| test.matches(tag));
        if self.ignored.is_empty() || !tags_joined.split(',').any(|tag| ignored(&tag)) {
            return Key::new(self.algorithm, name, kind, tags_joined);
        }
        let kept: Vec<&str> = tags_joined.split(',').filter(|tag| !ignored(tag)).collect();
        Key::new(self.algorithm, name, kind, &kept.join(","))
    }

    /// The key of a sender.
    pub fn origin(&self, sender: &str) -> Key {
        Key::origin(self.algorithm, sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tags_do_not_decide_the_owner_and_all_others_do() {
        for algorithm in [Algorithm::Rendezvous, Algorithm::Veneur] {
            let ignored = vec![
                TagMatch::Exact("canary".to_owned()),
                TagMatch::Prefix("le:".to_owned()),
                TagMatch::regex("pod:.*-[0-9]+$").expect("valid"),
            ];
            let hashing = Hashing { algorithm, ignored };
            let key = |tags| hashing.context("latency", "counter", tags);
            assert_eq!(key("canary,env:prod,le:0.5,pod:web-1"), key("env:prod,le:+Inf,pod:web-22"));
            assert_eq!(key("le:0.5"), Key::new(algorithm, "latency", "counter", ""));
            for other in ["canary:1,env:prod", "env:prod,size:le:1", "env:prod,pod:web"] {
                assert_ne!(key(other), key("env:prod"), "{other}");
                assert_eq!(key(other), Key::new(algorithm, "latency", "counter", other));
            }
        }
    }
}
