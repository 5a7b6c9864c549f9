//! As much as there may be, and one more.

use super::*;

fn many(count: usize) -> String {
    let mut text = "gateways: gw\nservices:\n".to_owned();
    for index in 0..count {
        text += &format!("- {{host: s{index}.example, port: 80, identity: ns/a/sa/a}}\n");
    }
    text
}

#[test]
fn there_is_room_for_twenty_thousand_services_and_no_more() {
    assert_eq!(services(&many(MAX_SERVICES)).unwrap().services.len(), MAX_SERVICES);
    assert_eq!(
        told(&many(MAX_SERVICES + 1)),
        "services.yaml:2: services: found a list: expected a list of at most 20000 services"
    );
}

#[test]
fn ports_of_all_fragments_count() {
    let port = |index: usize| (index + 1).to_string();
    let ports = (0..64).map(port).collect::<Vec<_>>().join(", ");
    let mut text = "gateways: gw\nservices:\n".to_owned();
    for index in 0..313 {
        text += &format!("- {{host: s{index}.example, ports: [{ports}], identity: ns/a/sa/a}}\n");
    }

    assert_eq!(
        told(&text),
        "services.yaml: the file: found 20032 ports of services: expected at most 20000"
    );
}

#[test]
fn a_text_is_no_longer_than_there_is_room_for() {
    let long = format!("services: []\n{}", "# nothing\n".repeat(MAX_BYTES / 10));

    assert_eq!(
        told(&long),
        "services.yaml: the file: found more than that: expected at most 16 MiB in all"
    );
}

#[test]
fn no_more_problems_are_told_than_anybody_reads() {
    let text = format!("services:\n{}", "- {}\n".repeat(2000));

    let problems = services(&text).unwrap_err().0;

    assert_eq!(problems.len(), MAX_PROBLEMS + 1);
    let last = problems.last().unwrap().to_string();
    assert_eq!(last, "services.yaml: all of it: found 5000 more problems: expected none");
}

#[test]
fn a_value_is_shown_as_far_as_it_fits_in_a_line() {
    let told = told(&format!("services: []\nlocality: \"{}\\n\\e[31m\"\n", "x".repeat(1000)));

    assert_eq!(told.lines().count(), 1);
    assert!(told.len() < 250 && !told.contains('\u{1b}'), "{told}");
}

#[test]
fn lists_have_their_limits() {
    let list =
        |count: usize| (0..count).map(|one| format!("n{one}")).collect::<Vec<_>>().join(", ");
    let service = |said: String| {
        format!("gateways: gw\nservices:\n- {{host: a, port: 80, identity: ns/a/sa/a, {said}}}\n")
    };
    let cases = [
        (
            format!("services: []\ngateways: [{}]\n", list(65)),
            "found 65 gateways: expected at most 64",
        ),
        (service(format!("aliases: [{}]", list(65))), "found 65 of them: expected at most 64"),
        (service(format!("gateways: [{}]", list(65))), "found 65 of them: expected at most 64"),
        (service(format!("filters: [{}]", list(17))), "expected a list of at most 16 filters"),
        (format!("inbound: [{}]\n", list(257)), "expected a list of at most 256 ports"),
    ];
    for (text, expected) in cases {
        let told = told(&text);
        assert!(told.ends_with(expected) && told.lines().count() == 1, "{told}");
    }
}
