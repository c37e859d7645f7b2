//! Laws of the parser.

use proptest::prelude::*;
use veneur_dogstatsd::{Item, context_tags, parse_datagram};
use veneur_metric::{Kind, Sample, Value};

/// A sample with its bytes as text, one character per byte; or the reason of a refusal.
#[derive(Debug, PartialEq)]
enum Outcome {
    Sample { name: String, kind: Kind, value: String, rate: f64, tags: String, origin: String, timestamp: u64 },
    Event,
    ServiceCheck,
    Refused(&'static str),
}

/// Latin-1: keeps bytes apart and lets the reference use string functions.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn parsed(datagram: &[u8]) -> (Vec<Outcome>, u32) {
    let mut outcomes = Vec::new();
    let skipped = parse_datagram(datagram, |outcome| {
        outcomes.push(match outcome {
            Err(refused) => Outcome::Refused(refused.reason()),
            Ok(Item::Event(_)) => Outcome::Event,
            Ok(Item::ServiceCheck(_)) => Outcome::ServiceCheck,
            Ok(Item::Sample(Sample { name, kind, value, rate, tags, origin, timestamp, packed: _ })) => {
                let value = match value {
                    Value::Number(number) => number.to_string(),
                    Value::Member(member) => text(member),
                };
                let timestamp = timestamp.map_or(0, std::num::NonZero::get);
                let (name, tags, origin) = (text(name), text(tags), text(origin));
                Outcome::Sample { name, kind, value, rate, tags, origin, timestamp }
            }
        });
    });
    (outcomes, skipped.0)
}

/// The grammar once more, as plainly as possible: no borrowing, no early end, every list collected.
fn naive(datagram: &[u8]) -> (Vec<Outcome>, u32) {
    let (mut outcomes, mut skipped) = (Vec::new(), 0);
    for line in text(datagram).split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match naive_line(line) {
            Err(reason) => outcomes.push(Outcome::Refused(reason)),
            Ok((of_line, skipped_here)) => {
                outcomes.extend(of_line);
                skipped += skipped_here;
            }
        }
    }
    (outcomes, skipped)
}

fn naive_line(line: &str) -> Result<(Vec<Outcome>, u32), &'static str> {
    let chunks: Vec<&str> = line.split('|').collect();
    let (metric, sections) = (chunks[0], chunks.get(2..).unwrap_or_default());
    let pieces: Vec<&str> = metric.split(':').collect();
    let letter = chunks.get(1).and_then(|chunk| chunk.chars().next());
    let kind = match letter {
        _ if line.starts_with("_e{") => return Ok((vec![Outcome::Event], 0)),
        _ if line.starts_with("_sc") => return Ok((vec![Outcome::ServiceCheck], 0)),
        _ if chunks.len() == 1 => return Err("missing_pipe"),
        _ if pieces.len() == 1 => return Err("missing_colon"),
        _ if pieces[0].is_empty() => return Err("empty_name"),
        None => return Err("empty_section"),
        Some('c') => Kind::Counter,
        Some('g') => Kind::Gauge,
        Some('h' | 'd') => Kind::Histogram,
        Some('m') => Kind::Timer,
        Some('s') => Kind::Set,
        Some(_) => return Err("unknown_type"),
    };
    let (mut rates, mut tags, mut times, mut skipped) = (vec![], vec![], vec![], 0);
    let says_who = |section: &&str| ["c:", "e:", "card:"].iter().any(|key| section.starts_with(key));
    let who: Vec<usize> = (0..sections.len()).filter(|at| says_who(&sections[*at])).collect();
    let origin = match who[..] {
        [] => String::new(),
        [first, .., last] => sections[first..=last].join("|"),
        [only] => sections[only].to_owned(),
    };
    for section in sections {
        if section.is_empty() {
            return Err("empty_section");
        } else if let Some(rate) = section.strip_prefix('@') {
            if !rates.is_empty() {
                return Err("duplicate_section");
            }
            rates.push(naive_number(rate).filter(|rate| *rate >= f64::MIN_POSITIVE && *rate <= 1.0).ok_or("bad_rate")?);
        } else if let Some(section) = section.strip_prefix('#') {
            if !tags.is_empty() {
                return Err("duplicate_section");
            }
            tags.push(section);
        } else if says_who(section) {
        } else if let Some(seconds) = section.strip_prefix('T').and_then(|text| text.parse::<u64>().ok())
            && seconds > 0
            && times.is_empty()
            && matches!(kind, Kind::Counter | Kind::Gauge)
        {
            times.push(seconds);
        } else {
            skipped += 1;
        }
    }
    let tags = tags.first().copied().unwrap_or("").to_owned();
    let rate = rates.first().copied().unwrap_or(1.0);
    let timestamp = times.first().copied().unwrap_or(0);
    let mut values = pieces[1..].to_vec();
    if values.len() > 1 && values.last() == Some(&"") {
        values.pop();
    }
    let outcome = |value: &&str| {
        let value =
            if kind == Kind::Set { Some((*value).to_owned()) } else { naive_number(value).map(|n| n.to_string()) };
        let Some(value) = value else {
            return Outcome::Refused("bad_number");
        };
        let (name, tags, origin) = (pieces[0].to_owned(), tags.clone(), origin.clone());
        Outcome::Sample { name, kind, value, rate, tags, origin, timestamp }
    };
    Ok((values.iter().map(outcome).collect(), skipped))
}

fn naive_number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Text that is nearly a datagram: fragments of the grammar in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop::sample::select(vec![
        "a",
        "name",
        ":",
        ":",
        "|",
        "|",
        "|c",
        "|ms",
        "|g",
        "|s",
        "|h",
        "1",
        "-2.5",
        "0.5",
        "1e400",
        "nan",
        "x",
        "|@",
        "|#",
        "@",
        "#",
        ",",
        "env:prod",
        "veneurlocalonly",
        "veneurglobalonly:true",
        "\n",
        "\r\n",
        "_e{",
        "_sc",
        "|c:ci-1",
        "|e:x",
        "|card:low",
        "|T1",
        "|@0.5",
        "\r",
        "\u{ff}",
        " ",
    ]);
    prop::collection::vec(fragment, 0..24).prop_map(|fragments| fragments.concat().into_bytes())
}

/// Mostly valid lines, several to a datagram.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let values = "(-?[0-9]{1,4}(\\.[0-9]{1,3})?|[a-z]{0,2})(:-?[0-9]{1,3}){0,4}:?";
    let tags = "#[a-z]{1,3}(:[a-z]{0,3})?(,[a-z,]{1,4}|,veneur(local|global)only){0,2}";
    let sections = format!("(\\|@0\\.[0-9]{{1,3}}|\\|{tags}|\\|[a-zT]:?[a-z0-9]{{0,4}}|\\|card:[a-z]){{0,3}}");
    let line = format!("[a-z._]{{0,6}}:{values}\\|(c|g|d|h|ms|s|q){sections}");
    prop::collection::vec(prop::string::string_regex(&line).expect("a pattern"), 1..6)
        .prop_map(|lines| lines.join("\n").into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parser_agrees_with_the_naive_one_on_datagrams(datagram in lines()) {
        prop_assert_eq!(parsed(&datagram), naive(&datagram));
    }

    #[test]
    fn parser_agrees_with_the_naive_one_on_fragments(datagram in fragments()) {
        prop_assert_eq!(parsed(&datagram), naive(&datagram));
    }

    #[test]
    fn no_bytes_panic_and_no_line_is_silent(datagram in prop::collection::vec(any::<u8>(), 0..300)) {
        let (outcomes, _) = parsed(&datagram);
        let lines = datagram.split(|byte| *byte == b'\n').filter(|line| !matches!(line, [] | [b'\r'])).count();
        prop_assert!(outcomes.len() >= lines);
        prop_assert_eq!(outcomes, naive(&datagram).0);
        context_tags(&datagram);
    }

    #[test]
    fn each_value_is_reported_once(
        values in prop::collection::vec("-?[0-9]{1,6}|[a-z]{1,3}", 1..40), kind in "c|g|h|ms|s"
    ) {
        let (outcomes, _) = parsed(format!("a.b:{}|{kind}", values.join(":")).as_bytes());
        prop_assert_eq!(outcomes.len(), values.len());
    }

    #[test]
    fn datagrams_are_the_sum_of_their_lines(lines in prop::collection::vec(fragments(), 0..4)) {
        let whole = parsed(&lines.join(&b'\n'));
        let (mut outcomes, mut skipped) = (Vec::new(), 0);
        for line in &lines {
            let (more, skipped_here) = parsed(line);
            outcomes.extend(more);
            skipped += skipped_here;
        }
        prop_assert_eq!(whole, (outcomes, skipped));
    }

    #[test]
    fn permuting_tags_changes_no_context(
        (tags, shuffled) in prop::collection::vec("[a-z]{1,3}(:[a-z]{0,2})?|veneurlocalonly|dd\\.internal\\.x:1", 0..6)
            .prop_flat_map(|tags| (Just(tags.clone()), Just(tags).prop_shuffle()))
    ) {
        prop_assert_eq!(context_tags(tags.join(",").as_bytes()), context_tags(shuffled.join(",").as_bytes()));
    }
}
