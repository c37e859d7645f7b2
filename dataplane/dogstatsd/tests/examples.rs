//! Lines and what becomes of them.

use veneur_dogstatsd::{Item, Refused, Skipped, context_tags, parse_datagram, parse_line};
use veneur_metric::Scope;

/// One outcome per value: `kind value` (with `@rate`, `#tags` and the scope where they are not the default), or the
/// reason of the refusal.
fn outcomes(datagram: &[u8]) -> String {
    let mut all = Vec::new();
    parse_datagram(datagram, |outcome| {
        all.push(match outcome {
            Err(refused) => refused.reason().to_owned(),
            Ok(Item::Event(_)) => "event".to_owned(),
            Ok(Item::ServiceCheck(_)) => "service check".to_owned(),
            Ok(Item::Sample(sample)) => {
                let value = match sample.value {
                    veneur_metric::Value::Number(number) => number.to_string(),
                    veneur_metric::Value::Member(member) => format!("{:?}", String::from_utf8_lossy(member)),
                };
                let rate = if sample.rate < 1.0 { format!(" @{}", sample.rate) } else { String::new() };
                let tags = String::from_utf8_lossy(sample.tags);
                let tags = if tags.is_empty() { String::new() } else { format!(" #{tags}") };
                let scope = match context_tags(sample.tags).scope {
                    Scope::Mixed => "",
                    Scope::Local => " local",
                    Scope::Global => " global",
                };
                let origin = String::from_utf8_lossy(sample.origin);
                let origin = if origin.is_empty() { String::new() } else { format!(" from {origin}") };
                let at = sample.timestamp.map(|seconds| format!(" at {seconds}")).unwrap_or_default();
                assert_eq!(sample.name, b"a.b");
                format!("{} {value}{rate}{tags}{scope}{at}{origin}", sample.kind)
            }
        });
    });
    all.join("; ")
}

#[test]
fn each_line_becomes_what_the_grammar_says() {
    let table: &[(&str, &str)] = &[
        // Types: only the first byte counts.
        ("a.b:1|c", "counter 1"),
        ("a.b:1|g", "gauge 1"),
        ("a.b:1|h", "histogram 1"),
        ("a.b:1|d", "histogram 1"),
        ("a.b:1|ms", "timer 1"),
        ("a.b:1|m", "timer 1"),
        ("a.b:1|s", "set \"1\""),
        ("a.b:1|c#lost", "counter 1"),
        ("a.b:1|C", "unknown_type"),
        ("a.b:1|#a", "unknown_type"),
        // Numbers.
        ("a.b:-1.5e3|g", "gauge -1500"),
        ("a.b:+2|g", "gauge 2"),
        ("a.b:.5|g", "gauge 0.5"),
        ("a.b:5.|g", "gauge 5"),
        ("a.b:1e-400|g", "gauge 0"),
        ("a.b:1e400|g", "bad_number"),
        ("a.b:nan|g", "bad_number"),
        ("a.b:NaN|g", "bad_number"),
        ("a.b:-inf|g", "bad_number"),
        ("a.b:Infinity|g", "bad_number"),
        ("a.b: 1|g", "bad_number"),
        ("a.b:1 |g", "bad_number"),
        ("a.b:|g", "bad_number"),
        ("a.b:|s", "set \"\""),
        // Several values.
        ("a.b:1:2:3|ms|@0.1|#t", "timer 1 @0.1 #t; timer 2 @0.1 #t; timer 3 @0.1 #t"),
        ("a.b:1:x:3|c", "counter 1; bad_number; counter 3"),
        ("a.b:1:|c", "counter 1"),
        ("a.b::1|c", "bad_number; counter 1"),
        ("a.b:x::y|s", "set \"x\"; set \"\"; set \"y\""),
        // Rates.
        ("a.b:1|c|@0.1", "counter 1 @0.1"),
        ("a.b:1|ms|@1e-9", "timer 1 @0.000000001"),
        ("a.b:1|c|@1", "counter 1"),
        ("a.b:1|c|@0", "bad_rate"),
        ("a.b:1|c|@-0.1", "bad_rate"),
        ("a.b:1|c|@1.01", "bad_rate"),
        ("a.b:1|c|@nan", "bad_rate"),
        ("a.b:1|c|@", "bad_rate"),
        ("a.b:1|c|@1e-320", "bad_rate"),
        ("a.b:1|c|@0.5|@0.5", "duplicate_section"),
        // Tags.
        ("a.b:1|c|#b:2,a:1", "counter 1 #b:2,a:1"),
        ("a.b:1|c|#t|@0.5", "counter 1 @0.5 #t"),
        ("a.b:1|c|#", "counter 1"),
        ("a.b:1|c|#|#t", "duplicate_section"),
        ("a.b:1|c|#veneurglobalonly:true", "counter 1 #veneurglobalonly:true global"),
        ("a.b:1|c|#x,veneurlocalonly,veneurglobalonly", "counter 1 #x,veneurlocalonly,veneurglobalonly local"),
        // Sections of newer protocols, and of none.
        ("a.b:1|c|#t|c:ci-2f,in-3", "counter 1 #t from c:ci-2f,in-3"),
        (
            "a.b:1|c|c:ci-2f,in-3|#t|T1656581400|e:it-1|card:low|zz",
            "counter 1 #t at 1656581400 from c:ci-2f,in-3|#t|T1656581400|e:it-1|card:low",
        ),
        ("a.b:1|ms|T1656581400", "timer 1"),
        ("a.b:1|g|T0|T5|T6|Tx", "gauge 1 at 5"),
        ("a.b:1|c|", "empty_section"),
        ("a.b:1|c||#t", "empty_section"),
        ("a.b:1|", "empty_section"),
        // Which fault is named.
        ("a.b", "missing_pipe"),
        ("a.b:1", "missing_pipe"),
        ("a.b|c", "missing_colon"),
        ("a.b|c:1", "missing_colon"),
        (":1|c", "empty_name"),
        (":x||@7", "empty_name"),
        ("a.b:x|q|@7", "unknown_type"),
        ("a.b:x|c|@7", "bad_rate"),
        // Events and service checks are other items.
        ("_e{2,3}:ab|cde", "event"),
        ("_sc|ok|0", "service check"),
        // Lines.
        ("", ""),
        ("\r\n\n", ""),
        ("a.b:1|c\na.b:2|c\r\n", "counter 1; counter 2"),
        ("bad\na.b:1|c\n\nworse", "missing_pipe; counter 1; missing_pipe"),
    ];
    for (datagram, expected) in table {
        assert_eq!(outcomes(datagram.as_bytes()), *expected, "{datagram:?}");
    }
    assert_eq!(outcomes(b"a.b:\xff|s|#\xfe"), "set \"\u{fffd}\" #\u{fffd}");
    assert_eq!(outcomes(b"a.b:\xff|c"), "bad_number");
}

#[test]
fn skipped_sections_are_counted_in_lines_that_are_kept() {
    let datagram = b"a:1|c|c:ci-2f|T16\na:1|c|zz|@7\na:1|c\na:x|c|q:it-1\na:1|h|T16";
    assert_eq!(parse_datagram(datagram, |_| {}), Skipped(2));
    assert_eq!(parse_line(b"a:1|c|card:low|cart:low", |outcome| assert!(outcome.is_ok())), Skipped(1));
}

#[test]
fn reasons_are_labels_and_messages_are_lines() {
    for refused in Refused::ALL {
        assert!(refused.reason().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        assert!(!refused.to_string().ends_with('.') && refused.to_string().len() < 100);
    }
}
