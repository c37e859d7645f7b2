//! Tags in canonical order.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The tags of a context, sorted bytewise and joined with `,`, which no DogStatsD tag can contain.
///
/// Sorting here, once, is what makes two spellings of the same tags one series everywhere after. Duplicates are kept,
/// as in the original; empty tags carry nothing and are left out. Cheap to clone: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tags(Arc<str>);

impl Tags {
    /// No tags.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sorts and joins. A tag that contains a comma (possible only on the wire) becomes two.
    pub fn new<'a>(tags: impl IntoIterator<Item = &'a str>) -> Self {
        let mut sorted: Vec<&str> =
            tags.into_iter().flat_map(|tag| tag.split(',')).filter(|tag| !tag.is_empty()).collect();
        sorted.sort_unstable();
        Self(sorted.join(",").into())
    }

    /// These tags and `more`. Where keys collide (the text before the first `:`), `more` wins: it is what an operator
    /// configured, and a client cannot talk its way around it.
    #[must_use]
    pub fn extended(&self, more: &[String]) -> Self {
        let kept = self.iter().filter(|own| !more.iter().any(|tag| tag_key(tag) == tag_key(own)));
        Self::new(kept.chain(more.iter().map(String::as_str)))
    }

    /// These tags but those with one of these keys.
    #[must_use]
    pub fn without(&self, keys: &[String]) -> Self {
        Self::new(self.iter().filter(|tag| !keys.iter().any(|key| key == tag_key(tag))))
    }

    /// At most one tag per key (the text before the first `:`): the last one given. What an event has, as the original
    /// keeps its tags in a map.
    pub fn unique<'a>(tags: impl IntoIterator<Item = &'a str>) -> Self {
        let tags = tags.into_iter().flat_map(|tag| tag.split(',')).filter(|tag| !tag.is_empty());
        let by_key: BTreeMap<&str, &str> = tags.map(|tag| (tag_key(tag), tag)).collect();
        Self::new(by_key.into_values())
    }

    /// These tags and `more`, at most one per key: where keys collide, the last of `more` wins. For events what
    /// [`extended`](Self::extended) is for samples and checks.
    #[must_use]
    pub fn extended_unique(&self, more: &[String]) -> Self {
        Self::unique(self.iter().chain(more.iter().map(String::as_str)))
    }

    /// The tags, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split(',').filter(|tag| !tag.is_empty())
    }

    /// The value of the first tag `name:value`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|tag| tag.strip_prefix(name)?.strip_prefix(':'))
    }

    /// The canonical joined form.
    pub fn joined(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The text of a tag before the first `:`, or all of it.
pub fn tag_key(tag: &str) -> &str {
    tag.split_once(':').map_or(tag, |(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extending_tag_replaces_every_tag_of_its_key() {
        let tags = Tags::new(["env:dev", "foobar", "foo", "zone:a"]);
        let extended = tags.extended(&["env:prod".to_owned(), "foo:x".to_owned()]);
        assert_eq!(extended.joined(), "env:prod,foo:x,foobar,zone:a");
    }

    #[test]
    fn an_event_keeps_the_last_tag_of_a_key() {
        let tags = Tags::unique(["b", "a:1", "b:2", "a:", "", "c"]);
        assert_eq!(tags.joined(), "a:,b:2,c");
        assert_eq!(tags.extended_unique(&["c:3".to_owned(), "c:4".to_owned()]).joined(), "a:,b:2,c:4");
    }

    #[test]
    fn a_value_is_found_by_its_whole_key() {
        let tags = Tags::new(["hostname:x", "host:a:b"]);
        assert_eq!(tags.value("host"), Some("a:b"));
        assert_eq!(tags.value("ho"), None);
    }
}
