//! Which tags a sink leaves out.

/// The tags that sinks leave out. An entry is `tag`, for every sink, or `tag|sinkA|sinkB`, for the sinks of these
/// names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsExclude {
    entries: Vec<(String, Vec<String>)>,
}

impl TagsExclude {
    /// Reads entries. One without a tag excludes nothing.
    pub fn new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let entry = |entry: &str| {
            let mut pieces = entry.split('|').map(str::to_owned);
            let tag = pieces.next().filter(|tag| !tag.is_empty())?;
            Some((tag, pieces.collect()))
        };
        Self { entries: entries.into_iter().filter_map(|text| entry(text.as_ref())).collect() }
    }

    /// The tags that the sink of this name leaves out. How a tag has to match is the sink's affair.
    pub fn for_sink(&self, name: &str) -> Vec<String> {
        let concerns = |sinks: &[String]| sinks.is_empty() || sinks.iter().any(|sink| sink == name);
        self.entries.iter().filter(|(_, sinks)| concerns(sinks)).map(|(tag, _)| tag.clone()).collect()
    }
}

/// Whether a text begins with one of these; nothing begins with an empty one.
pub(crate) fn begins_with_one_of(text: &str, prefixes: &[impl AsRef<str>]) -> bool {
    prefixes.iter().map(AsRef::as_ref).any(|prefix| !prefix.is_empty() && text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_concerns_every_sink_or_those_it_names() {
        let exclude = TagsExclude::new(["pod", "zone|dd|other", "|dd", ""]);
        assert_eq!(exclude.for_sink("dd"), ["pod", "zone"]);
        assert_eq!(exclude.for_sink("d"), ["pod"]);
        assert!(TagsExclude::default().for_sink("dd").is_empty());
    }
}
