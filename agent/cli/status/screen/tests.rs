//! What the screen looks like, held against files; and that it holds whatever others say.

use proptest::prelude::*;

use super::*;
use crate::{cli::status::ALL, status::examples};

type Machine = fn() -> Snapshot;

fn drawn(of: &Snapshot, width: usize, colour: bool) -> String {
    screen(of, Look { width, colour }, ALL).join("\n") + "\n"
}

fn is_as_drawn(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn each_state_has_its_screen_at_80_and_at_120_columns() {
    let cases: [(&str, Machine); 9] = [
        ("healthy", examples::healthy),
        ("starting", examples::starting),
        ("degraded", examples::degraded),
        ("certificates_only", examples::certificates_only),
        ("standalone", examples::standalone),
        ("beside", examples::beside),
        ("stale", examples::stale),
        ("draining", examples::draining),
        ("maintenance", examples::maintained),
    ];
    for (name, machine) in cases {
        for width in [80, 120] {
            is_as_drawn(&format!("{name}_{width}"), &drawn(&machine(), width, false));
        }
    }
}

#[test]
fn in_colour_what_is_good_and_what_is_wrong_is_seen_at_once() {
    let text = drawn(&examples::stale(), 80, true);
    is_as_drawn("stale_80_colour", &text.replace('\x1b', "^"));
}

#[test]
fn a_healthy_machine_fits_a_terminal_of_24_rows() {
    let text = drawn(&examples::healthy(), 80, false);
    assert!(text.lines().count() < 24, "{text}");
}

#[test]
fn a_terminal_that_is_too_low_is_told_how_much_is_missing() {
    let lines = screen(&examples::degraded(), Look { width: 80, colour: false }, 10);
    assert_eq!(lines.len(), 10);
    assert!(lines[9].ends_with("more lines"), "{lines:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_others_say_no_line_is_too_wide_and_nothing_moves_the_cursor(
        said in prop::collection::vec(any::<char>(), 0..300),
        width in 40..200_usize,
    ) {
        let said = String::from_iter(said);
        for line in screen(&examples::hostile(&said), Look { width, colour: false }, ALL) {
            prop_assert!(line.chars().count() <= width, "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}
