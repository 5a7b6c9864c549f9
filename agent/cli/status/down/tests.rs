//! What is said of an agent that does not answer, by what systemd knows of it.

use super::*;
use crate::{cli::status::ALL, status::examples::NOW};

fn unit(shown: &str) -> Option<UnitStatus> {
    Some(UnitStatus::of(&Unit::of(&shown.replace(' ', "\n"))))
}

fn down(unit: Option<UnitStatus>) -> Down {
    Down {
        version: "0.1.0",
        state: State::Down,
        at: NOW,
        since: Some(NOW - 3_700),
        socket: "/run/hawser/admin.sock".to_owned(),
        error: "No such file or directory (os error 2)".to_owned(),
        unit,
        ended: None,
        troubles: Vec::new(),
    }
}

fn machine() -> Place {
    Place { root: None, joined: true, hangs: false }
}

/// What `systemctl show` says, where the agent would be, and what is found then.
type Case = (&'static str, fn() -> Place, [&'static str; 3]);

const CASES: &[Case] = &[
    (
        "ActiveState=failed ExecMainCode=1 ExecMainStatus=78 Result=exit-code",
        machine,
        ["failed", "its configuration is wrong", "hawser check"],
    ),
    (
        "ActiveState=failed ExecMainCode=1 ExecMainStatus=1 Result=exit-code",
        machine,
        ["failed", "it failed", "journalctl -u hawser -n 50"],
    ),
    (
        "ActiveState=failed ExecMainCode=2 ExecMainStatus=9 Result=oom-kill",
        machine,
        ["failed", "it was killed: no memory was left", "journalctl -k -n 50"],
    ),
    (
        "ActiveState=failed ExecMainCode=3 ExecMainStatus=6 Result=watchdog",
        machine,
        ["failed", "it hung, and systemd killed it", "journalctl -u hawser -n 50"],
    ),
    (
        "ActiveState=inactive UnitFileState=enabled ExecMainCode=1",
        machine,
        ["stopped", "it was stopped", "systemctl start hawser"],
    ),
    (
        "ActiveState=inactive UnitFileState=disabled",
        machine,
        ["stopped", "it was stopped, and does not start at boot", "systemctl enable --now hawser"],
    ),
    (
        "ActiveState=inactive UnitFileState=masked",
        machine,
        ["masked", "hawser.service is masked", "systemctl unmask hawser"],
    ),
    (
        "ActiveState=activating SubState=auto-restart ExecMainCode=2 ExecMainStatus=11",
        machine,
        [
            "restarting",
            "the agent killed by signal 11; systemd starts it again",
            "journalctl -u hawser -n 50",
        ],
    ),
    (
        "ActiveState=activating SubState=start ExecMainCode=0",
        machine,
        ["starting", "systemd is starting it", "hawser status --wait-ready"],
    ),
    (
        "ActiveState=active SubState=running",
        || Place { hangs: true, ..machine() },
        [
            "silent",
            "the agent runs, and does not answer",
            "systemctl restart hawser # drops nothing",
        ],
    ),
    (
        "ActiveState=inactive UnitFileState=disabled",
        || Place { joined: false, ..machine() },
        ["not-joined", "this machine has not joined a mesh", "hawser join BUNDLE"],
    ),
    (
        "",
        || Place { joined: false, ..elsewhere() },
        ["not-joined", "this machine has not joined a mesh", "hawser join BUNDLE --root /tmp/vm"],
    ),
    ("", elsewhere, ["not-running", "the agent does not run", "hawser run --root /tmp/vm"]),
    ("", machine, ["not-running", "the agent does not run", "hawser run"]),
];

fn elsewhere() -> Place {
    Place { root: Some("/tmp/vm".to_owned()), joined: true, hangs: false }
}

#[test]
fn each_way_to_be_down_has_its_reason_and_the_next_command() {
    for (shown, place, expected) in CASES {
        let unit = if shown.is_empty() { None } else { unit(shown) };
        let Trouble { code, what, next, .. } = down(unit).trouble(&place());
        assert_eq!([&*code, &*what, &*next], *expected, "{shown}");
    }
}

#[test]
fn the_screen_says_since_when_what_systemd_knows_and_what_to_do() {
    let mut down = down(unit(
        "ActiveState=failed SubState=failed UnitFileState=enabled Result=exit-code ExecMainCode=1 \
         ExecMainStatus=78 NRestarts=0",
    ));
    let how = "its configuration is wrong".to_owned();
    down.ended = Some(EndingStatus { at: Some(NOW - 3_700), how, asked: false });
    down.troubles = vec![down.trouble(&machine())];
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for width in [80, 120] {
        let text = down.screen(Look { width, colour: false }, ALL).join("\n") + "\n";
        settings.bind(|| insta::assert_snapshot!(format!("down_{width}"), text));
    }
}

#[test]
fn when_a_unit_stopped_is_reckoned_by_a_clock_that_nobody_sets() {
    let up = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().tv_sec().cast_unsigned();
    let stopped = |left: u64| {
        let left = format!("InactiveEnterTimestampMonotonic={left}");
        since(&Unit::of(&left), NOW)
    };
    assert_eq!(stopped(0), None, "it was never stopped");
    let since = stopped(up * 1_000_000).unwrap();
    assert!((NOW - 60..=NOW).contains(&since), "{since}");
}
