//! Rows of what happens, and what is to be redirected then.

use super::*;

/// At this second, this is seen; and then these gates are open.
#[derive(Clone, Copy)]
enum Seen {
    Envoy,
    NoEnvoy,
    Agent,
    NoAgent,
}
use Seen::{Agent, Envoy as Up, NoAgent, NoEnvoy as Down};

const HOLD: Duration = Duration::from_secs(30);

/// `o`, `i` and `d` for the gates that are open.
fn shown(gates: Gates<bool>) -> String {
    let letters = [(gates.outbound, 'o'), (gates.inbound, 'i'), (gates.dns, 'd')];
    letters.into_iter().filter(|(open, _)| *open).map(|(_, letter)| letter).collect()
}

fn played(on_failure: OnFailure, rows: &[(u64, Seen, &str, Phase)]) {
    let start = Instant::now();
    let mut core = Core::new(on_failure, HOLD);
    for (row, &(second, seen, open, phase)) in rows.iter().enumerate() {
        let now = start + Duration::from_secs(second);
        match seen {
            Up => core.envoy(true, now),
            Down => core.envoy(false, now),
            Agent => core.agent(true),
            NoAgent => core.agent(false),
        }
        let said = (shown(core.gates()), core.phase());
        assert_eq!(said, (open.to_owned(), phase), "{on_failure:?}, row {row}, second {second}");
    }
}

use Phase::{Holding, Lifted, Redirecting, Waiting};

#[tokio::test(start_paused = true)]
async fn nothing_is_redirected_before_envoy_listens_whatever_the_agent_says() {
    for policy in [OnFailure::Open, OnFailure::Hold, OnFailure::Closed] {
        played(
            policy,
            &[
                (0, Down, "", Waiting),
                (1, Agent, "", Waiting),
                (600, Down, "", Waiting),
                (601, Up, "oid", Redirecting),
            ],
        );
    }
}

#[tokio::test(start_paused = true)]
async fn with_hold_envoy_may_be_away_for_a_while_and_then_programs_go_past_it() {
    played(
        OnFailure::Hold,
        &[
            (0, Up, "oi", Redirecting),
            (100, Down, "oi", Holding),
            (129, Down, "oi", Holding),
            // Strangers do not get in all the same.
            (130, Down, "i", Lifted),
            (900, Down, "i", Lifted),
            (901, Up, "oi", Redirecting),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn with_hold_a_restart_changes_nothing() {
    played(
        OnFailure::Hold,
        &[
            (0, Up, "oi", Redirecting),
            (100, Down, "oi", Holding),
            (102, Up, "oi", Redirecting),
            (112, Up, "oi", Redirecting),
            // The next trouble is another one.
            (125, Down, "oi", Holding),
            (154, Down, "oi", Holding),
            (155, Down, "i", Lifted),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn an_envoy_that_comes_and_goes_is_not_held_for_ever() {
    played(
        OnFailure::Hold,
        &[
            (0, Up, "oi", Redirecting),
            (100, Down, "oi", Holding),
            (105, Up, "oi", Redirecting),
            (110, Down, "oi", Holding),
            (120, Up, "oi", Redirecting),
            (129, Up, "oi", Redirecting),
            // More than half a minute of it.
            (131, Down, "i", Lifted),
            // Not back and forth: it has to stay.
            (132, Up, "i", Lifted),
            (141, Up, "i", Lifted),
            (142, Up, "oi", Redirecting),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn with_open_programs_go_past_envoy_at_once() {
    played(
        OnFailure::Open,
        &[
            (0, Up, "oi", Redirecting),
            (100, Down, "", Lifted),
            (101, Up, "oi", Redirecting),
            (102, Down, "", Lifted),
            (103, Up, "", Lifted),
            (113, Up, "oi", Redirecting),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn with_closed_nothing_gets_past_envoy() {
    played(
        OnFailure::Closed,
        &[
            (0, Up, "oi", Redirecting),
            (100, Down, "oi", Holding),
            (86_400, Down, "oi", Holding),
            (86_401, Up, "oi", Redirecting),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn names_are_redirected_while_the_agent_answers_whatever_envoy_does() {
    for policy in [OnFailure::Open, OnFailure::Hold, OnFailure::Closed] {
        let mut core = Core::new(policy, HOLD);
        let now = Instant::now();
        core.envoy(true, now);
        core.envoy(false, now + HOLD * 2);
        core.agent(true);
        assert!(core.gates().dns, "{policy:?}");
    }
    played(
        OnFailure::Hold,
        &[
            (0, Up, "oi", Redirecting),
            (1, NoAgent, "oi", Redirecting),
            (2, Agent, "oid", Redirecting),
            (4, NoAgent, "oid", Redirecting),
            (6, NoAgent, "oid", Redirecting),
            (8, Agent, "oid", Redirecting),
            (10, NoAgent, "oid", Redirecting),
            (12, NoAgent, "oid", Redirecting),
            (14, NoAgent, "oi", Redirecting),
            (16, Agent, "oid", Redirecting),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_guard_goes_on_where_another_one_was_killed() {
    let now = Instant::now();
    let gates = |outbound, inbound, dns| Gates { outbound, inbound, dns };
    let rows = [
        // What was open, and what is if Envoy listens, does not, and has not for the time of hold.
        (gates(true, true, true), "oid", "oid", "id"),
        (gates(true, true, false), "oi", "oi", "i"),
        (gates(false, true, false), "oi", "i", "i"),
        (gates(false, false, true), "oid", "", ""),
        (gates(false, false, false), "oi", "", ""),
    ];
    for (open, listens, away, longer) in rows {
        let resumed = || {
            let mut core = Core::new(OnFailure::Hold, HOLD);
            core.resume(&open, now);
            core
        };
        let mut core = resumed();
        core.envoy(true, now);
        assert_eq!(shown(core.gates()), listens, "{open:?}");
        let mut core = resumed();
        core.envoy(false, now);
        assert_eq!(shown(core.gates()), away, "{open:?}");
        core.envoy(false, now + HOLD);
        assert_eq!(shown(core.gates()), longer, "{open:?}");
    }
}
