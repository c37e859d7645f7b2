//! Whom a sample says it comes from.
//!
//! ```text
//! section   := "c:" part *( "," part ) | "e:" fact *( "," fact ) | "card:" word
//! part      := "ci-" container id | "in-" inode of its cgroup | container id       the last one from clients before v1.4
//! fact      := "it-" … | "cn-" container name | "pu-" pod uid
//! word      := none | low | orchestrator | high
//! ```
//!
//! `it-` says whether it is an init container; no two containers of a pod have one name, so nobody needs it.

/// What a client says of itself, from sections as sent. Nothing of it is checked: any client can say anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The container's id.
    pub container: Option<&'a str>,
    /// Inode of the container's cgroup on its node.
    pub inode: Option<u64>,
    /// Uid of the pod.
    pub pod: Option<&'a str>,
    /// Name of the container in the pod.
    pub container_name: Option<&'a str>,
    /// How much of it should become tags.
    pub cardinality: Option<Cardinality>,
}

/// How much of an origin becomes tags; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cardinality {
    /// Nothing.
    None,
    /// What many pods have in common.
    Low,
    /// What names the pod.
    Orchestrator,
    /// What names the container.
    High,
}

/// Longest id or name that is taken for one. Container ids have 64 letters, uids 36, names 63.
const LONGEST: usize = 128;

impl<'a> Claim<'a> {
    /// Reads sections with `|` between them; others than the three, and what is malformed in them, are skipped.
    ///
    /// ```
    /// use veneur_dogstatsd::{Cardinality, Claim};
    ///
    /// let claim = Claim::parse(b"c:ci-4f2a,in-77|T1700000000|e:it-false,cn-app,pu-9b1d|card:high");
    /// assert_eq!((claim.container, claim.inode), (Some("4f2a"), Some(77)));
    /// assert_eq!((claim.pod, claim.container_name), (Some("9b1d"), Some("app")));
    /// assert_eq!(claim.cardinality, Some(Cardinality::High));
    /// ```
    pub fn parse(sections: &'a [u8]) -> Self {
        let mut claim = Self::default();
        for section in sections.split(|byte| *byte == b'|') {
            let Ok(section) = std::str::from_utf8(section) else { continue };
            if let Some(parts) = section.strip_prefix("c:") {
                parts.split(',').for_each(|part| claim.part(part));
            } else if let Some(facts) = section.strip_prefix("e:") {
                facts.split(',').for_each(|fact| claim.fact(fact));
            } else if let Some(word) = section.strip_prefix("card:") {
                claim.cardinality = Cardinality::parse(word).or(claim.cardinality);
            }
        }
        claim
    }

    /// What the tags as sent add where the sections say nothing: `dd.internal.entity_id:` and a pod's uid, from clients
    /// before v1.2 and those that are told it by `DD_ENTITY_ID`, and `dd.internal.card:`.
    #[must_use]
    pub fn or_tags(mut self, tags: &'a [u8]) -> Self {
        let internal = tags.split(|byte| *byte == b',').filter_map(|tag| tag.strip_prefix(b"dd.internal."));
        for tag in internal.filter_map(|tag| std::str::from_utf8(tag).ok()) {
            if let Some(uid) = tag.strip_prefix("entity_id:").filter(|uid| *uid != "none") {
                self.pod = self.pod.or(name(uid));
            } else if let Some(word) = tag.strip_prefix("card:") {
                self.cardinality = self.cardinality.or(Cardinality::parse(word));
            }
        }
        self
    }

    /// What the fields of an event or a service check say, tags included; `otherwise` if that names nobody.
    pub fn of_fields(fields: &'a [u8], otherwise: &'a [u8]) -> Self {
        let tags = fields.split(|byte| *byte == b'|').find_map(|field| field.strip_prefix(b"#"));
        let claim = Self::parse(fields).or_tags(tags.unwrap_or_default());
        if claim.names_somebody() {
            return claim;
        }
        let other = Self::parse(otherwise);
        Self { cardinality: claim.cardinality.or(other.cardinality), ..other }
    }

    /// Whether it names anybody.
    pub fn names_somebody(&self) -> bool {
        self.container.is_some() || self.inode.is_some() || self.pod.is_some()
    }

    fn part(&mut self, part: &'a str) {
        if let Some(inode) = part.strip_prefix("in-") {
            self.inode = inode.parse().ok().filter(|inode| *inode > 0).or(self.inode);
        } else {
            self.container = name(part.strip_prefix("ci-").unwrap_or(part)).or(self.container);
        }
    }

    fn fact(&mut self, fact: &'a str) {
        if let Some(uid) = fact.strip_prefix("pu-") {
            self.pod = name(uid).or(self.pod);
        } else if let Some(container) = fact.strip_prefix("cn-") {
            self.container_name = name(container).or(self.container_name);
        }
    }
}

impl Cardinality {
    /// All, the lowest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Low, Self::Orchestrator, Self::High];

    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Low => "low",
            Self::Orchestrator => "orchestrator",
            Self::High => "high",
        }
    }

    /// Reads the protocol's word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cardinality| cardinality.as_str() == word)
    }
}

fn name(text: &str) -> Option<&str> {
    (1..=LONGEST).contains(&text.len()).then_some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_container_is_read() {
        let container = |text: &'static str| {
            let claim = Claim::parse(text.as_bytes());
            (claim.container, claim.inode)
        };
        assert_eq!(container("c:4f2a"), (Some("4f2a"), None));
        assert_eq!(container("c:ci-4f2a"), (Some("4f2a"), None));
        assert_eq!(container("c:in-77"), (None, Some(77)));
        assert_eq!(container("c:in-77,ci-4f2a"), (Some("4f2a"), Some(77)));
        assert_eq!(container("c:in-,ci-"), (None, None));
        assert_eq!(container("c:in-0,in-x"), (None, None));
        assert_eq!(container("d:ci-4f2a|cc:ci-4f2a"), (None, None));
    }

    #[test]
    fn tags_say_it_where_no_section_does() {
        let tags = b"a:b,dd.internal.entity_id:9b1d,dd.internal.card:high";
        let claim = Claim::parse(b"c:4f2a").or_tags(tags);
        assert_eq!((claim.container, claim.pod), (Some("4f2a"), Some("9b1d")));
        assert_eq!(claim.cardinality, Some(Cardinality::High));
        let claim = Claim::parse(b"e:pu-77|card:low").or_tags(tags);
        assert_eq!((claim.pod, claim.cardinality), (Some("77"), Some(Cardinality::Low)));
        assert!(!Claim::default().or_tags(b"dd.internal.entity_id:none,entity_id:4").names_somebody());
    }

    #[test]
    fn events_and_checks_say_it_among_their_fields() {
        let fields = crate::event::fields(b"_e{1,8}:a|b|c:ci-9|card:low|#x:y,dd.internal.entity_id:9b1d|c:ci-4f2a");
        let claim = Claim::of_fields(fields, b"c:ci-7");
        assert_eq!((claim.container, claim.pod), (Some("4f2a"), Some("9b1d")), "the text says nothing");
        let fields = crate::service_check::fields(b"_sc|c:name|0|m:c:message|card:high");
        let claim = Claim::of_fields(fields, b"c:ci-7");
        assert_eq!((claim.container, claim.cardinality), (Some("7"), Some(Cardinality::High)));
        assert_eq!(crate::service_check::fields(b"_sc|a"), b"");
        assert_eq!(crate::event::fields(b"_e{"), b"");
    }

    #[test]
    fn what_is_malformed_hides_nothing_that_is_not() {
        let long = "a".repeat(LONGEST + 1);
        let text = format!("c:\u{fffd}|e:pu-9b1d,,cn-{long},xy-1|card:all|card:low||c:\x07,4f2a");
        let claim = Claim::parse(text.as_bytes());
        assert_eq!((claim.container, claim.pod, claim.container_name), (Some("4f2a"), Some("9b1d"), None));
        assert_eq!(claim.cardinality, Some(Cardinality::Low));
        assert!(!Claim::parse(b"c:\xff|e:|card:high").names_somebody());
    }
}
