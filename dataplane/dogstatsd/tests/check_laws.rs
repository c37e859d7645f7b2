//! Laws of the parser of service checks.

use proptest::prelude::*;
use veneur_dogstatsd::service_check;
use veneur_metric::{Check, Status, Tags};

type Outcome = Result<(Check, u32), &'static str>;

fn parsed(line: &[u8]) -> Outcome {
    service_check::parse(line).map(|(check, skipped)| (check, skipped.0)).map_err(veneur_dogstatsd::Refused::reason)
}

/// The grammar once more, as plainly as possible: every list collected. Pipes are one byte, so replacing what is not
/// UTF-8 first changes no boundary.
fn naive(line: &[u8]) -> Outcome {
    let line = String::from_utf8_lossy(line);
    let chunks: Vec<&str> = line.split('|').collect();
    if chunks[0] != "_sc" || chunks.len() < 2 {
        return Err("bad_check_header");
    }
    if chunks[1].is_empty() {
        return Err("empty_name");
    }
    if chunks.len() < 3 {
        return Err("bad_check_header");
    }
    let status = match chunks[2] {
        "0" => Status::Ok,
        "1" => Status::Warning,
        "2" => Status::Critical,
        "3" => Status::Unknown,
        _ => return Err("bad_check_status"),
    };
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut skipped = 0;
    for section in &chunks[3..] {
        let key = ["d:", "h:", "#", "m:"].into_iter().find(|key| section.starts_with(key));
        let origin = section.starts_with("c:") || section.starts_with("e:") || section.starts_with("card:");
        let over = found.iter().any(|(seen, _)| *seen == "m:");
        match key {
            _ if section.is_empty() => return Err("empty_section"),
            _ if over && key != Some("m:") && !origin => return Err("bad_check_field"),
            None => skipped += 1,
            Some(key) if found.iter().any(|(seen, _)| *seen == key) => return Err("duplicate_section"),
            Some(key) => found.push((key, &section[key.len()..])),
        }
    }
    let value = |key| found.iter().find(|(seen, _)| *seen == key).map(|(_, value)| *value);
    let mut tags: Vec<&str> = value("#").unwrap_or("").split(',').collect();
    if let Some(at) = tags.iter().position(|tag| ["veneurlocalonly", "veneurglobalonly"].contains(tag)) {
        tags.remove(at);
    }
    tags.retain(|tag| !tag.starts_with("dd.internal."));
    let unescaped = |message: &str| message.replace("\\n", "\n").replace("m\\:", "m:");
    let check = Check {
        name: chunks[1].into(),
        status,
        timestamp: match value("d:") {
            Some(digits) => Some(digits.parse().map_err(|_| "bad_check_field")?),
            None => None,
        },
        host: value("h:").filter(|host| !host.is_empty()).map(Box::from),
        message: value("m:").filter(|message| !message.is_empty()).map(|message| unescaped(message).into()),
        tags: Tags::new(tags),
    };
    Ok((check, skipped))
}

/// Mostly valid lines.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        5 => "\\|d:-?[0-9]{1,10}|\\|h:[a-z.-]{0,5}",
        3 => "\\|#([a-c](:[a-z:]{0,2})?|veneur(local|global)only(:x)?|dd\\.internal\\.x:1|)(,[a-c]?(:[a-z]{0,2})?){0,4}",
        2 => "\\|(c:ci-1|e:it-false|card:low|T[0-9]{1,3}|[a-z]{1,2})",
        1 => "\\|(d:[a-z]{0,2}|m:[a-z]{0,2})|\\|",
    ];
    let message = "(\\|m:[a-zm:\\\\n é]{0,12})?(\\|(c:ci-1|e:x|card:low)){0,2}";
    let head = prop_oneof![12 => "_sc\\|[a-z. é]{1,8}\\|[0-3]", 1 => "_sc[a-z]?\\|[a-z]{0,2}(\\|[0-9]{0,2})?"];
    (head, prop::collection::vec(field, 0..5), message)
        .prop_map(|(head, fields, message)| format!("{head}{}{message}", fields.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parser_agrees_with_the_naive_one_on_checks(line in line()) {
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn parser_agrees_with_the_naive_one_on_damaged_checks(
        mut line in line(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let at = at.index(line.len());
        line[at] = byte;
        prop_assert_eq!(parsed(&line), naive(&line));
        line.truncate(at);
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parsed(&tail), naive(&tail));
        let line = [&b"_sc|a|0|"[..], &tail].concat();
        prop_assert_eq!(parsed(&line), naive(&line));
    }

    #[test]
    fn permuting_tags_changes_no_check(
        (tags, shuffled) in prop::collection::vec("[a-z]{1,3}(:[a-z]{0,2})?", 0..6)
            .prop_flat_map(|tags| (Just(tags.clone()), Just(tags).prop_shuffle()))
    ) {
        let with = |tags: Vec<String>| parsed(format!("_sc|a|0|#{}", tags.join(",")).as_bytes());
        prop_assert_eq!(with(tags), with(shuffled));
    }
}

#[test]
fn enough_of_the_drawn_checks_are_accepted() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let accepted = (0..1_000).filter(|_| parsed(&line().new_tree(&mut runner).expect("a line").current()).is_ok());
    assert!(accepted.count() > 200, "the laws must see both sides");
}

#[test]
fn a_client_of_any_version_is_understood() {
    // As clients of protocol 1.2 and later write it: their origin behind the message.
    let line = "_sc|db up|1|d:1700000000|h:db-1|#b,a:1,veneurglobalonly|m:slow:\\nalarm\\: 3|c:ci-1f|e:it-false";
    let (check, skipped) = parsed(line.as_bytes()).expect("well formed");
    let expected = Check {
        name: "db up".into(),
        status: Status::Warning,
        timestamp: Some(1_700_000_000),
        host: Some("db-1".into()),
        message: Some("slow:\nalarm: 3".into()),
        tags: Tags::new(["a:1", "b"]),
    };
    assert_eq!((check, skipped), (expected, 2));
}

#[test]
fn a_bad_check_is_refused_with_its_reason() {
    for (line, reason) in [
        ("_sc", "bad_check_header"),
        ("_scx|a|0", "bad_check_header"),
        ("_sc|a", "bad_check_header"),
        ("_sc||0", "empty_name"),
        ("_sc|a|", "bad_check_status"),
        ("_sc|a|4", "bad_check_status"),
        ("_sc|a|00", "bad_check_status"),
        ("_sc|a|0|", "empty_section"),
        ("_sc|a|0|h:x|h:y", "duplicate_section"),
        ("_sc|a|0|m:x|m:y", "duplicate_section"),
        ("_sc|a|0|m:x|h:y", "bad_check_field"),
        ("_sc|a|0|m:x|more", "bad_check_field"),
        ("_sc|a|0|d:now", "bad_check_field"),
    ] {
        assert_eq!(parsed(line.as_bytes()), Err(reason), "{line}");
    }
}
