//! Ends as systemd and Envoy tell of them.

use super::*;

const CRITICAL: &str =
    "[2026-11-21 14:27:15.856][14818][critical][main] [source/server/server.cc:449] ";
const TRACE: &str = "[2026-11-21 14:27:26.028][14882][critical][backtrace] [./source/server/backtrace.h:167] #0: [0x7f3800a08050]";

fn facts<'a>(said: [&'a str; 3], lines: &'a [String]) -> Facts<'a> {
    let [result, code, status] = said;
    Facts { result, code, status, started: true, asked: false, lines }
}

#[test]
fn an_end_is_told_by_what_systemd_and_envoy_say() {
    let taken = format!(
        "{CRITICAL}error `cannot bind '127.0.0.1:1': Address already in use` initializing config 'x'"
    );
    let refused = format!("{CRITICAL}error initializing configuration '/e.json': no such field");
    let files =
        "2026-11-21T14:00:00.1Z\terror\tenvoy main x.cc:1\tpipe: Too many open files\tthread=1";
    let table = [
        (
            ["exit-code", "exited", "1"],
            vec![taken.as_str()],
            Kind::PortTaken,
            "a port that it needs is taken: error `cannot bind '127.0.0.1:1'",
        ),
        (
            ["exit-code", "exited", "1"],
            vec![refused.as_str()],
            Kind::Configuration,
            "it would not take its bootstrap: error initializing configuration '/e.json': no such field",
        ),
        (
            ["exit-code", "exited", "1"],
            vec!["PARSE ERROR: Argument: --nothing"],
            Kind::Configuration,
            "it would not take its bootstrap",
        ),
        (
            ["signal", "killed", "ABRT"],
            vec![files, TRACE],
            Kind::TooManyFiles,
            "it was out of file descriptors: pipe: Too many open files",
        ),
        (
            ["signal", "killed", "ABRT"],
            vec!["terminate called after throwing an instance of 'std::bad_alloc'"],
            Kind::OutOfMemory,
            "the machine or the unit was out of memory",
        ),
        (
            ["oom-kill", "killed", "KILL"],
            vec![],
            Kind::OutOfMemory,
            "the machine or the unit was out of memory",
        ),
        (["core-dump", "dumped", "SEGV"], vec![TRACE], Kind::Crashed, "crashed with SIGSEGV"),
        (
            ["signal", "killed", "SEGV"],
            vec![refused.as_str(), TRACE],
            Kind::Crashed,
            "crashed with SIGSEGV: error initializing",
        ),
        (["signal", "killed", "KILL"], vec![], Kind::Killed, "killed by SIGKILL"),
        (["signal", "killed", "USR1"], vec![], Kind::Killed, "killed by SIGUSR1"),
        (["exit-code", "exited", "7"], vec![], Kind::Failed, "exited with 7"),
        (
            ["success", "exited", "0"],
            vec![taken.as_str()],
            Kind::Quit,
            "it was told to quit over its admin interface",
        ),
        (["success", "killed", "TERM"], vec![], Kind::Quit, "somebody sent it SIGTERM"),
    ];
    for (said, lines, kind, what) in table {
        let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        let verdict = judge(facts(said, &lines));
        assert_eq!(verdict.kind, kind, "{said:?}");
        assert!(verdict.what.starts_with(what), "{said:?}: {}", verdict.what);
        assert!(!verdict.remedy.is_empty(), "{said:?}");
    }
}

#[test]
fn who_was_asked_to_end_has_no_defect_and_who_never_began_has_no_end() {
    let ended = |said, started, asked| judge(Facts { started, asked, ..facts(said, &[]) }).kind;
    assert_eq!(ended(["success", "exited", "0"], true, true), Kind::AsTold);
    assert_eq!(ended(["timeout", "killed", "KILL"], true, true), Kind::Stuck);
    assert_eq!(ended(["signal", "killed", "SEGV"], true, true), Kind::Crashed);
    assert_eq!(ended(["success", "killed", "TERM"], false, false), Kind::AsTold);
    assert_eq!(ended(["exit-code", "exited", "78"], false, false), Kind::NotStarted);
    assert_eq!(ended(["exit-code", "exited", "203"], false, true), Kind::NotStarted);
}

#[test]
fn what_a_client_writes_into_an_access_log_is_no_evidence() {
    let line =
        r#"[2026-11-21T14:26:57.476Z] "GET /Address already in use std::bad_alloc HTTP/1.1" 200"#;
    let verdict = judge(facts(["exit-code", "exited", "1"], &[line.to_owned()]));
    assert_eq!(verdict.kind, Kind::Failed);
    assert_eq!(verdict.what, "exited with 1");
}

#[test]
fn waits_double_up_to_half_a_minute() {
    let waits: Vec<u64> = (0..9).map(|row| wait(row).as_secs()).collect();
    assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(wait(u32::MAX), LONGEST_WAIT);
}

#[test]
fn one_that_stayed_up_or_was_told_to_end_begins_a_new_row() {
    let soon = Duration::from_secs(29);
    assert_eq!(in_a_row(3, Kind::Crashed, soon), 4);
    assert_eq!(in_a_row(3, Kind::Quit, soon), 4);
    assert_eq!(in_a_row(3, Kind::Crashed, SETTLED), 0);
    assert_eq!(in_a_row(3, Kind::AsTold, Duration::ZERO), 0);
}
