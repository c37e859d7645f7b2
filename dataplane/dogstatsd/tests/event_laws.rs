//! Laws of the event parser.

use proptest::prelude::*;
use veneur_dogstatsd::event;
use veneur_metric::{AlertType, Event, Priority, Tags};

type Outcome = Result<(Event, u32), &'static str>;

fn parsed(line: &[u8]) -> Outcome {
    event::parse(line).map(|(event, skipped)| (event, skipped.0)).map_err(veneur_dogstatsd::Refused::reason)
}

/// The grammar once more, as plainly as possible: one character per byte, every list collected.
fn naive(line: &[u8]) -> Outcome {
    let line: Vec<char> = line.iter().map(|byte| char::from(*byte)).collect();
    let whole: String = line.iter().collect();
    let header = whole.strip_prefix("_e{").and_then(|rest| rest.split('}').next()).unwrap_or("");
    if !whole.starts_with(&format!("_e{{{header}}}:")) || !header.contains(',') {
        return Err("bad_event_header");
    }
    let mut lengths = Vec::new();
    for digits in header.splitn(2, ',') {
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
        let length = if is_number { digits.trim_start_matches('0').parse::<u16>().unwrap_or(0) } else { 0 };
        if length == 0 {
            return Err("bad_event_length");
        }
        lengths.push(usize::from(length));
    }
    let rest: Vec<char> = line[header.len() + 5..].to_vec();
    if rest.len() < lengths[0] + 1 + lengths[1] || rest[lengths[0]] != '|' {
        return Err("bad_event_length");
    }
    let title: String = rest[..lengths[0]].iter().collect();
    let text: String = rest[lengths[0] + 1..lengths[0] + 1 + lengths[1]].iter().collect();
    let tail: String = rest[lengths[0] + 1 + lengths[1]..].iter().collect();
    if !tail.is_empty() && !tail.starts_with('|') {
        return Err("bad_event_length");
    }

    let mut found: Vec<(&str, String)> = Vec::new();
    let mut skipped = 0;
    for section in tail.split('|').skip(1) {
        if section.is_empty() {
            return Err("empty_section");
        }
        let Some(key) = ["d:", "h:", "k:", "p:", "s:", "t:", "#"].into_iter().find(|key| section.starts_with(key))
        else {
            skipped += 1;
            continue;
        };
        if found.iter().any(|(seen, _)| *seen == key) {
            return Err("duplicate_section");
        }
        found.push((key, utf8(&section[key.len()..])));
    }
    let value = |key| found.iter().find(|(seen, _)| *seen == key).map(|(_, value)| value.as_str());
    let some = |key| value(key).filter(|value| !value.is_empty()).map(Box::from);
    let event = Event {
        title: utf8(&title).into(),
        text: utf8(&text).split("\\n").collect::<Vec<_>>().join("\n").into(),
        timestamp: match value("d:") {
            Some(digits) => Some(digits.parse().map_err(|_| "bad_event_field")?),
            None => None,
        },
        host: some("h:"),
        aggregation_key: some("k:"),
        source_type: some("s:"),
        priority: match value("p:") {
            Some("normal") | None => Priority::Normal,
            Some("low") => Priority::Low,
            Some(_) => return Err("bad_event_field"),
        },
        alert_type: match value("t:") {
            Some("error") => AlertType::Error,
            Some("warning") => AlertType::Warning,
            Some("info") | None => AlertType::Info,
            Some("success") => AlertType::Success,
            Some(_) => return Err("bad_event_field"),
        },
        tags: naive_tags(value("#").unwrap_or("")),
    };
    Ok((event, skipped))
}

fn naive_tags(list: &str) -> Tags {
    let all: Vec<&str> = list.split(',').filter(|tag| !tag.is_empty() && !tag.starts_with("dd.internal.")).collect();
    let key = |tag: &str| tag.split(':').next().unwrap_or("").to_owned();
    let last_of_its_key = |at: &usize| !all[at + 1..].iter().any(|later| key(later) == key(all[*at]));
    Tags::new((0..all.len()).filter(last_of_its_key).map(|at| all[at]))
}

/// From one character per byte to text.
fn utf8(latin: &str) -> String {
    let bytes: Vec<u8> = latin.chars().map(|char| u8::try_from(u32::from(char)).expect("was a byte")).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fields() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        6 => "\\|d:-?[0-9]{1,10}|\\|h:[a-z.-]{0,5}|\\|k:[a-z é]{0,5}|\\|p:(normal|low)|\\|s:[a-z]{0,4}",
        2 => "\\|t:(error|warning|info|success)",
        2 => "\\|#([a-c](:[a-z:]{0,2})?|dd\\.internal\\.x:1|)(,[a-c]?(:[a-z]{0,2})?){0,4}",
        2 => "\\|(c:ci-1|e:it-false|card:low|T[0-9]{1,3}|[a-z]{1,2})",
        1 => "\\|(d:[a-z]{0,2}|p:[a-z]{0,3}|t:[a-z]{0,3})|\\|",
    ];
    prop::collection::vec(field, 0..7).prop_map(|fields| fields.concat())
}

/// Mostly valid lines; lengths are now and then one off.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-z é|\\\\n}{,:#]{1,12}";
    let off = || prop_oneof![12 => Just(0_isize), 1 => -1..2_isize];
    ("[a-z é|}:]{1,8}", text, off(), off(), fields()).prop_map(|(title, text, title_off, text_off, fields)| {
        let length = |text: &str, off| text.len().saturating_add_signed(off);
        let (of_title, of_text) = (length(&title, title_off), length(&text, text_off));
        format!("_e{{{of_title},{of_text}}}:{title}|{text}{fields}").into_bytes()
    })
}

/// Text that is nearly an event: fragments of the grammar in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop::sample::select(vec![
        "_e{",
        "}",
        ":",
        ",",
        "|",
        "1,1}:a|b",
        "01",
        "2",
        "0",
        "a",
        "\\n",
        "|d:1",
        "|h:x",
        "|#a:1,a",
        "|t:info",
        "|c:x",
        "+1",
        "18446744073709551616",
        "\u{e9}",
    ]);
    prop::collection::vec(fragment, 0..12).prop_map(|fragments| [&b"_e{"[..], fragments.concat().as_bytes()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parser_agrees_with_the_naive_one_on_events(line in line()) {
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn parser_agrees_with_the_naive_one_on_fragments(line in fragments()) {
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn parser_agrees_with_the_naive_one_on_damaged_events(
        mut line in line(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let at = at.index(line.len());
        line[at] = byte;
        prop_assert_eq!(parsed(&line), naive(&line));
        line.truncate(at);
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn no_bytes_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parsed(&line), naive(&line));
    }
}

#[test]
fn enough_of_the_drawn_events_are_accepted() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let accepted = (0..1_000).filter(|_| parsed(&line().new_tree(&mut runner).expect("a line").current()).is_ok());
    assert!(accepted.count() > 200, "the laws must see both sides");
}

#[test]
fn the_lengths_decide_where_title_and_text_end() {
    let (event, skipped) = parsed("_e{7,8}:a|}: é|b|c\\n: d|t:error|c:ci-1|p:low".as_bytes()).expect("well formed");
    assert_eq!((&*event.title, &*event.text, skipped), ("a|}: é", "b|c\n: d", 1));
    assert_eq!((event.alert_type, event.priority), (AlertType::Error, Priority::Low));
}

#[test]
fn a_bad_event_is_refused_with_its_reason() {
    for (line, reason) in [
        ("_e{1,1}a|b", "bad_event_header"),
        ("_e{11}:a|b", "bad_event_header"),
        ("_e{1,1:a|b", "bad_event_header"),
        ("_e{0,1}:|b", "bad_event_length"),
        ("_e{1,0}:a|", "bad_event_length"),
        ("_e{1,2}:a|b", "bad_event_length"),
        ("_e{1,1}:a|bc", "bad_event_length"),
        ("_e{2,1}:é|b|", "empty_section"),
        ("_e{1,1}:é|b", "bad_event_length"),
        ("_e{+1,1}:a|b", "bad_event_length"),
        ("_e{18446744073709551617,1}:a|b", "bad_event_length"),
        ("_e{1,1}:a|b||h:x", "empty_section"),
        ("_e{1,1}:a|b|h:x|h:x", "duplicate_section"),
        ("_e{1,1}:a|b|#x|#y", "duplicate_section"),
        ("_e{1,1}:a|b|p:high", "bad_event_field"),
        ("_e{1,1}:a|b|t:Info", "bad_event_field"),
        ("_e{1,1}:a|b|d:1.5", "bad_event_field"),
    ] {
        assert_eq!(parsed(line.as_bytes()), Err(reason), "{line}");
    }
}
