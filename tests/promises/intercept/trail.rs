//! What becomes of the rules is in the journal, under ids that its catalogue knows.

use std::path::Path;

use anyhow::{Result, ensure};
use hawser_audit::{GATES_CHANGED, Kind, RULES_APPLIED, RULES_CLEARED, RULES_REPAIRED};

use super::host::{Host, PATIENCE};
use crate::{logs::journal::Journal, machine::wait_for};

#[test]
fn what_becomes_of_the_rules_is_a_trail_in_the_journal() -> Result<()> {
    let host = Host::new("mode = \"redirect\"")?;
    let journal = Journal::under(Path::new(&host.root()))?;
    let told = |kind: Kind| wait_for(kind.name, PATIENCE, || Ok(journal.of(kind).pop()));
    let guard = host.guard_of_the_journal()?;

    let envoy = host.envoy()?;
    let applied = told(RULES_APPLIED)?;
    ensure!(applied["MESSAGE"].starts_with("traffic goes to envoy"), "{applied:?}");
    host.says("the rules", |state| state["gates"]["outbound"] == true)?;
    host.succeed(&["nft", "delete", "table", "inet", "hawser"])?;
    let repaired = told(RULES_REPAIRED)?;
    ensure!(repaired["PRIORITY"] == "4" && repaired.contains_key("WHAT"), "{repaired:?}");
    drop(envoy);
    let shut = wait_for("the gates", PATIENCE, || {
        let shut = journal.of(GATES_CHANGED);
        Ok(shut.into_iter().find(|entry| entry["MESSAGE"].contains("envoy does not listen")))
    })?;
    ensure!(shut["PRIORITY"] == "4", "{shut:?}");
    guard.stop()?;
    told(RULES_CLEARED)?;

    // By hand, too.
    let before = journal.of(RULES_CLEARED).len();
    host.intercept(&["clear"])?;
    wait_for("it to be told", PATIENCE, || {
        Ok((journal.of(RULES_CLEARED).len() > before).then_some(()))
    })?;
    Ok(())
}
