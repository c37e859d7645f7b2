//! Self-metrics as DogStatsD, one a line.

use std::fmt::{Display, Write as _};

use veneur_config::{SelfScope, Server};
use veneur_metric::tag_key;

/// What every self-metric begins with.
const PREFIX: &str = "veneur.";

/// Tags and scopes of self-metrics.
#[derive(Debug)]
pub(super) struct Style {
    prefix: &'static str,
    tags: Vec<String>,
    counter: Option<&'static str>,
    gauge: Option<&'static str>,
    histogram: Option<&'static str>,
}

const GLOBAL: &str = "veneurglobalonly";

impl Style {
    /// `own`: they join this instance's own intervals.
    pub(super) fn new(config: &Server, own: bool) -> Self {
        let scope = |scope: SelfScope| match scope {
            SelfScope::Default => None,
            SelfScope::Global => Some(GLOBAL),
            SelfScope::Local => Some("veneurlocalonly"),
        };
        let mut tags: Vec<String> = config.veneur_metrics_additional_tags.iter().map(|tag| clean(tag)).collect();
        // What a global publishes bears no host, because others publish it in its place. Not so what it says of itself.
        let named = tags.iter().chain(&config.extend_tags).any(|tag| tag_key(tag) == "host");
        if own && !config.forwards() && !named && !config.hostname.is_empty() {
            tags.push(format!("host:{}", clean(&config.hostname)));
        }
        let scopes = &config.veneur_metrics_scopes;
        Self {
            prefix: PREFIX,
            tags,
            counter: scope(scopes.counter),
            gauge: scope(scopes.gauge),
            histogram: scope(scopes.histogram),
        }
    }

    /// One with these tags, for metrics whose scope is that of their type.
    pub(super) fn plain(prefix: &'static str, tags: impl IntoIterator<Item = String>) -> Self {
        Self { prefix, tags: tags.into_iter().collect(), counter: None, gauge: None, histogram: None }
    }
}

/// Lines under way.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    style: &'a Style,
    text: String,
}

/// Tags of one line.
type Tags<'a> = &'a [(&'a str, &'a str)];

impl<'a> Lines<'a> {
    pub(super) fn new(style: &'a Style) -> Self {
        Self { style, text: String::new() }
    }

    /// Adds to a counter; nothing where there is nothing to add.
    pub(super) fn count(&mut self, name: &str, more: u64, tags: Tags<'_>) {
        if more > 0 {
            self.line(name, more, "c", tags, self.style.counter);
        }
    }

    /// The same, a 0 too: its series has no gaps.
    pub(super) fn dense(&mut self, name: &str, more: u64, tags: Tags<'_>) {
        self.line(name, more, "c", tags, self.style.counter);
    }

    /// Adds to a counter of the whole fleet.
    pub(super) fn fleet(&mut self, name: &str, more: u64, tags: Tags<'_>) {
        if more > 0 {
            self.line(name, more, "c", tags, Some(GLOBAL));
        }
    }

    pub(super) fn gauge(&mut self, name: &str, state: impl Display, tags: Tags<'_>) {
        self.line(name, state, "g", tags, self.style.gauge);
    }

    /// One of a distribution, which is a histogram as in the original.
    pub(super) fn took(&mut self, name: &str, took: impl Display, tags: Tags<'_>) {
        self.line(name, took, "h", tags, self.style.histogram);
    }

    fn line(&mut self, name: &str, value: impl Display, kind: &str, tags: Tags<'_>, scope: Option<&str>) {
        let own = tags.iter().map(|(key, value)| format!("{key}:{}", clean(value)));
        let added = self.style.tags.iter().filter(|tag| !tags.iter().any(|(own, _)| *own == tag_key(tag))).cloned();
        let all: Vec<String> = own.chain(added).chain(scope.map(str::to_owned)).collect();
        let section = if all.is_empty() { String::new() } else { format!("|#{}", all.join(",")) };
        writeln!(self.text, "{}{name}:{value}|{kind}{section}", self.style.prefix)
            .expect("writing to a string cannot fail");
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// A text without what would end a tag.
fn clean(text: &str) -> String {
    text.replace(['|', ',', '\n', '\r'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_scopes_are_the_originals() {
        let mut config = Server { hostname: "g-0".into(), ..Server::default() };
        config.veneur_metrics_additional_tags = vec!["env:prod".into(), "sink_name:mine".into()];
        config.veneur_metrics_scopes.gauge = SelfScope::Local;
        let style = Style::new(&config, true);
        let mut lines = Lines::new(&style);
        lines.count("a.total", 0, &[]);
        lines.count("a.total", 2, &[("sink_name", "a,b|c")]);
        lines.gauge("b", 1.5, &[]);
        lines.fleet("flushed_metrics", 7, &[]);
        assert_eq!(
            lines.into_text(),
            "veneur.a.total:2|c|#sink_name:a_b_c,env:prod,host:g-0\n\
             veneur.b:1.5|g|#env:prod,sink_name:mine,host:g-0,veneurlocalonly\n\
             veneur.flushed_metrics:7|c|#env:prod,sink_name:mine,host:g-0,veneurglobalonly\n"
        );
    }

    #[test]
    fn a_local_leaves_the_host_to_its_output_and_stats_address_to_whoever_reads_it() {
        let config = Server { hostname: "pod".into(), forward_address: "proxy:1".into(), ..Server::default() };
        assert!(Style::new(&config, true).tags.is_empty());
        assert!(Style::new(&Server { hostname: "pod".into(), ..Server::default() }, false).tags.is_empty());
    }
}
