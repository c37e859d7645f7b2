//! What forms a context, and what is published of it.

use veneur_metric::{Context, Kind, Scope, Tags};

/// How contexts are formed from samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Keys of tags that no context has, but for those added here.
    pub drop_tags: Vec<String>,
    /// Tags added to every context; they replace a client's of the same key.
    pub extend_tags: Vec<String>,
    /// Scopes given by name, first match wins; they apply where no magic tag chose one.
    pub scopes: Vec<ScopeRule>,
    /// Names whose distributions are kept in a sketch of relative error.
    pub relative: Vec<NameRule>,
    /// Whether who sent a sample (the protocol's `c:`, `e:` and `card:`) decides its tags.
    pub by_origin: bool,
    /// Intervals without a sample after which a spelling is forgotten.
    pub idle_intervals: u32,
}

/// A test on a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRule {
    /// Names that start so; empty matches all.
    pub prefix: String,
    /// Whether the prefix has to be the whole name.
    pub exact: bool,
}

impl NameRule {
    /// Whether it holds for a name.
    pub fn matches(&self, name: &str) -> bool {
        if self.exact { name == self.prefix } else { name.starts_with(&self.prefix) }
    }
}

/// Gives a scope to contexts by name and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeRule {
    /// Names it applies to.
    pub name: NameRule,
    /// Kinds it applies to; empty means all.
    pub kinds: Vec<Kind>,
    /// The scope they get.
    pub scope: Scope,
}

impl Rules {
    /// Whether a context's distribution is kept in a sketch of relative error.
    pub(crate) fn relative(&self, name: &str, kind: Kind) -> bool {
        matches!(kind, Kind::Histogram | Kind::Timer) && self.relative.iter().any(|rule| rule.matches(name))
    }

    /// The context of a sample.
    pub fn context(&self, name: &str, kind: Kind, asked: Scope, tags: Tags) -> Context {
        let scope = match asked {
            Scope::Mixed => self.scopes.iter().find(|rule| rule.matches(name, kind)).map_or(asked, |rule| rule.scope),
            chosen => chosen,
        };
        // A counter or gauge that stays here is one series, whether a tag or the default keeps it here.
        let scope = match (kind, scope) {
            (Kind::Counter | Kind::Gauge, Scope::Local) => Scope::Mixed,
            (_, scope) => scope,
        };
        let tags = if self.drop_tags.is_empty() { tags } else { tags.without(&self.drop_tags) };
        let tags = if self.extend_tags.is_empty() { tags } else { tags.extended(&self.extend_tags) };
        Context { name: name.into(), tags, kind, scope }
    }
}

impl ScopeRule {
    fn matches(&self, name: &str, kind: Kind) -> bool {
        self.name.matches(name) && (self.kinds.is_empty() || self.kinds.contains(&kind))
    }
}

/// What an instance publishes.
#[derive(Debug, Clone, Default)]
pub struct Publishing {
    /// Whether partials leave for another tier, which then completes them.
    pub forwards: bool,
    /// Percentiles of distributions.
    pub percentiles: Vec<Percentile>,
    /// Aggregates of distributions.
    pub aggregates: Vec<Aggregate>,
}

/// A quantile and the suffix it is published under.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    pub(crate) quantile: f64,
    pub(crate) suffix: String,
}

impl Percentile {
    /// `quantile` must lie in (0, 1). The suffix is its shortest decimal percentage: `99percentile`, `99.9percentile`.
    /// The original truncates, so that 0.999 collides with 0.99; up to five digits ours never do.
    pub fn new(quantile: f64) -> Self {
        let percent = format!("{:.3}", quantile * 100.0);
        let percent = percent.trim_end_matches('0').trim_end_matches('.');
        Self { quantile, suffix: format!(".{percent}percentile") }
    }
}

/// Statistics of a distribution beside its percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it, but for the two below")]
pub enum Aggregate {
    Min,
    Max,
    /// The 0.5 quantile under a name of its own; published with the percentiles, by the tier that has every sample.
    Median,
    Avg,
    Count,
    Sum,
    /// Harmonic mean; 0 when a sample was 0.
    Hmean,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_names_never_collide() {
        let names: Vec<String> =
            [0.05, 0.29, 0.5, 0.99, 0.999, 0.9999, 0.99999].map(|q| Percentile::new(q).suffix).to_vec();
        assert_eq!(
            names,
            [
                ".5percentile",
                ".29percentile",
                ".50percentile",
                ".99percentile",
                ".99.9percentile",
                ".99.99percentile",
                ".99.999percentile"
            ]
        );
    }

    #[test]
    fn what_differs_in_a_dropped_tag_alone_is_one_context() {
        let rules = Rules {
            drop_tags: vec!["nonce".into(), "env".into()],
            extend_tags: vec!["env:prod".into()],
            ..Rules::default()
        };
        let context =
            |tags: &[&str]| rules.context("hits", Kind::Counter, Scope::Mixed, Tags::new(tags.iter().copied()));
        let one = context(&["nonce:1", "env:dev", "nonces:2"]);
        assert_eq!(one, context(&["nonces:2", "nonce:7", "nonce"]));
        assert_eq!(one.tags.joined(), "env:prod,nonces:2", "what is added stays");
    }

    #[test]
    fn a_magic_tag_wins_over_every_rule() {
        let rule = ScopeRule {
            name: NameRule { prefix: "api.".into(), exact: false },
            kinds: vec![Kind::Timer],
            scope: Scope::Global,
        };
        let rules = Rules { scopes: vec![rule], ..Rules::default() };
        let scope = |name, kind, asked| rules.context(name, kind, asked, Tags::none()).scope;
        assert_eq!(scope("api.latency", Kind::Timer, Scope::Mixed), Scope::Global);
        assert_eq!(scope("api.latency", Kind::Timer, Scope::Local), Scope::Local);
        assert_eq!(scope("api.latency", Kind::Counter, Scope::Mixed), Scope::Mixed);
        assert_eq!(scope("api.latency", Kind::Counter, Scope::Local), Scope::Mixed, "one series here, not two");
        assert_eq!(scope("web.latency", Kind::Timer, Scope::Mixed), Scope::Mixed);
    }
}
