//! The closed set of reasons is the documented one.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_reason_has_one_section_that_says_what_to_do() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conditions.md")).expect("the page");
    let (_, sections) = page.split_once("\n## Reasons\n").expect("the sections");
    let (sections, _) = sections.split_once("\n## ").expect("another chapter after them");
    let mut documented = BTreeSet::new();
    for section in sections.split("\n### ").skip(1) {
        let (reason, text) = section.split_once('\n').expect("a heading and a text");
        assert!(documented.insert(reason), "{reason} has two sections");
        assert!(text.trim().len() > 10, "{reason} says nothing");
    }
    let known: BTreeSet<&str> = veneur_operator_api::all_reasons().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(documented, known);
}

#[test]
fn every_condition_is_in_the_table() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conditions.md")).expect("the page");
    for kind in veneur_operator_api::ConditionType::ALL {
        assert!(
            page.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{}`", kind.as_str()))),
            "{kind:?}"
        );
    }
}
