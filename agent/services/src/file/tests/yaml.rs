//! Texts that are no YAML, or more of it than anybody needs.

use super::*;

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    let cases = [
        ("services:\n- host: [a\n", 2..=4),
        ("services: []\n\ttab: 1\n", 2..=2),
        ("a: b: c\n", 1..=1),
        ("services: []\n\"open\n", 2..=4),
        ("services: *nobody\n", 1..=1),
        ("services: []\n@: 1\n", 2..=2),
    ];
    for (text, lines) in cases {
        let problems = services(text).unwrap_err().0;
        let [problem] = problems.as_slice() else { panic!("{text:?}: {problems:?}") };
        assert!(lines.contains(&problem.place.line), "{text:?}: {problem}");
        assert!(problem.found.starts_with("a mistake: "), "{text:?}: {problem}");
        assert_eq!(problem.expected, "YAML that can be read", "{text:?}: {problem}");
    }
}

#[test]
fn what_has_no_place_in_such_a_file_is_told() {
    let cases = [
        (
            "services: []\n---\nservices: []\n",
            "2: YAML: found a second document: expected one document in a file",
        ),
        ("services: !include more.yaml\n", "1: YAML: found the tag !include: expected no tags"),
        (
            "services: []\n[a, b]: 1\n",
            "2: YAML: found a list or a mapping as a key: expected a word as a key",
        ),
        (
            "services: &a [*a]\n",
            "1: YAML: found an alias of what it stands in: expected an alias of what came before",
        ),
        ("<<: word\nservices: []\n", "1: <<: found something else: expected an alias of a mapping"),
        (
            "services: []\nservices: []\n",
            "2: services: found it again, after line 1: expected every key once",
        ),
    ];
    for (text, expected) in cases {
        let told = told(text);
        assert!(told.lines().any(|line| line == format!("services.yaml:{expected}")), "{told}");
    }
}

#[test]
fn aliases_and_merged_mappings_are_written_out() {
    let read = services(
        "gateways: gw\n\
         services:\n\
         - &first\n  \
           host: a.example\n  \
           port: 80\n  \
           identity: &who ns/a/sa/a\n  \
           retries: 9\n\
         - {<<: *first, host: b.example}\n\
         - {host: c.example, port: 80, identity: *who}\n",
    )
    .unwrap();

    let seen: Vec<_> = read.services.iter().map(|of| (of.host.as_str(), of.retries)).collect();
    assert_eq!(seen, [("a.example", 9), ("b.example", 9), ("c.example", 2)]);
}

#[test]
fn a_few_aliases_do_not_become_more_than_there_is_room_for() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
    }

    let told = told(&text);

    assert!(told.contains("expected at most 2000000 values"), "{told}");
}

#[test]
fn nobody_needs_to_go_that_deep() {
    let flow = format!("services: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    let block = format!("services: {}x\n", "- ".repeat(5000));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..5000 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    for text in [flow, block, chain] {
        let problems = services(&text).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
    }
}

#[test]
fn windows_line_ends_and_a_mark_at_the_beginning_are_nothing() {
    let read = services("\u{feff}services: []\r\nlocality: a/b\r\n").unwrap();

    assert_eq!(read.locality, "a/b");
}
