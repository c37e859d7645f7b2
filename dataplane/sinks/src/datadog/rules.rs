//! What the configuration leaves out of requests to Datadog.

use crate::exclude::begins_with_one_of;

/// Tags that are left out of points and checks of some names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixTags {
    /// Start of the names concerned.
    pub metric_prefix: String,
    /// Starts of the tags to leave out.
    pub tags: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) tags_exclude: Vec<String>,
    pub(super) metric_name_prefix_drops: Vec<String>,
    pub(super) exclude_tags_prefix_by_prefix_metric: Vec<PrefixTags>,
}

impl Rules {
    /// Whether what has this name is sent at all.
    pub(super) fn keep(&self, name: &str) -> bool {
        !begins_with_one_of(name, &self.metric_name_prefix_drops)
    }

    /// The prefixes of tags that are left out of what has this name only. All rules that fit are joined.
    pub(super) fn of_name<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let fitting =
            self.exclude_tags_prefix_by_prefix_metric.iter().filter(|rule| name.starts_with(&rule.metric_prefix));
        fitting.flat_map(|rule| &rule.tags).map(String::as_str).collect()
    }

    /// Whether a tag is sent, `of_name` being what [`Rules::of_name`] said.
    pub(super) fn keep_tag(&self, tag: &str, of_name: &[&str]) -> bool {
        !begins_with_one_of(tag, &self.tags_exclude) && !begins_with_one_of(tag, of_name)
    }
}
