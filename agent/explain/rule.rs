//! What the kernel does with a connection: whether a rule of ours takes it to Envoy, and if not,
//! which of them lets it pass.

use hawser_intercept::{
    plan::{Fate, Gate},
    report::Report,
};
use serde_json::json;

use super::{Kind, Step, listener::Arrival};

/// What is known of the rules beside the settings.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Whether the settings want rules at all.
    pub wanted: bool,
    /// If not, what they do not do that they seem to.
    pub why_not: Option<String>,
    /// What the guard says of itself.
    pub report: Option<Report>,
    /// What is loaded, for whoever may look.
    pub table: Option<Table>,
}

/// What is loaded in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The gates that are open.
    pub open: Vec<Gate>,
    /// Whether somebody has changed it since.
    pub changed: bool,
}

/// For whom, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Who makes the connection.
    pub whom: &'a str,
    /// Whether its address is a service's, whom nobody reaches past Envoy.
    pub ours: bool,
    /// Whether Envoy listens at the address itself.
    pub listens: bool,
}

impl Live {
    /// Whether a gate is open; the kernel knows better than the guard.
    pub fn opens(&self, gate: Gate) -> bool {
        match (&self.table, &self.report) {
            (Some(table), _) => table.open.contains(&gate),
            (None, Some(report)) => *report.gates.of(gate),
            (None, None) => false,
        }
    }
}

/// The step, and how the connection gets to Envoy, if it does.
pub fn step(fate: &Fate, live: &Live, case: &Case<'_>) -> (Step, Option<Arrival>) {
    let gate = fate.gate.filter(|_| live.wanted);
    let open = gate.filter(|gate| live.opens(*gate)).zip(fate.port);
    let decided = format!("rule \"{}\", of {}, for {}", fate.rule, fate.setting, case.whom);
    let (mut step, arrival) = match (open, gate) {
        (Some((Gate::Dns, port)), _) => {
            let step = Step::new(Kind::Rule, format!("redirected to the agent, port {port}"));
            (step.and(decided), None)
        }
        (Some((_, port)), _) => {
            let step = Step::new(Kind::Rule, format!("redirected to Envoy, port {port}"));
            (step.and(decided), Some(Arrival::Redirected(port)))
        }
        (None, _) if case.listens => {
            let step = Step::new(Kind::Rule, "none is needed: Envoy listens at the address itself");
            (step, Some(Arrival::Directly))
        }
        (None, Some(_shut)) => (shut(live, case).and(decided), None),
        (None, None) if !live.wanted => {
            let mut step = Step::new(Kind::Rule, "past Envoy: the settings want no rules");
            step.more.extend(live.why_not.clone());
            (if case.ours { past(step, "hawser config intercept.enabled") } else { step }, None)
        }
        (None, None) => {
            let step = Step::new(Kind::Rule, "past Envoy").and(decided);
            (if case.ours { past(step, "hawser intercept plan") } else { step }, None)
        }
    };
    if live.wanted {
        for unless in &fate.unless {
            step = step.and(format!("it is another thing if {unless}"));
        }
        if live.table.as_ref().is_some_and(|table| table.changed) {
            step = step.and("somebody has changed the loaded rules: `hawser intercept diff`");
        }
    }
    let step = step.facts(json!({
        "rule": fate.rule,
        "setting": fate.setting,
        "gate": fate.gate.map(Gate::set),
        "open": open.is_some(),
        "port": open.map(|(_, port)| port),
        "looked_at": if live.table.is_some() { "kernel" } else { "guard" },
    }));
    (step, arrival)
}

/// It would be redirected, if it could.
fn shut(live: &Live, case: &Case<'_>) -> Step {
    let why = match (&live.table, &live.report) {
        (_, Some(report)) => format!("hawser-intercept.service: {report}"),
        (Some(_), None) => "the rules are not loaded, or their gates are shut".to_owned(),
        (None, None) => "hawser-intercept.service does not run".to_owned(),
    };
    let step = Step::new(Kind::Rule, "not redirected at the moment").and(why);
    if case.ours { past(step, "hawser intercept show") } else { step }
}

fn past(step: Step, next: &str) -> Step {
    step.breaks("past Envoy, nobody answers at the address of a service", next)
}

#[cfg(test)]
mod tests {
    use hawser_intercept::{
        gates::Gates,
        guard::{OnFailure, Phase},
    };

    use super::*;

    fn fate(gate: Option<Gate>) -> Fate {
        let port = gate.map(|_| 15001);
        Fate {
            gate,
            port,
            rule: "any network",
            setting: "intercept.outbound_cidrs",
            unless: Vec::new(),
        }
    }

    fn table(open: &[Gate]) -> Option<Table> {
        Some(Table { open: open.to_vec(), changed: false })
    }

    fn report(outbound: bool) -> Report {
        Report {
            pid: 1,
            phase: if outbound { Phase::Redirecting } else { Phase::Waiting },
            since: 0,
            at: 0,
            envoy: outbound,
            on_failure: OnFailure::Open,
            gates: Gates { outbound, inbound: outbound, dns: outbound },
            trial: None,
            repairs: 0,
            drift: None,
            read: 1,
            warnings: Vec::new(),
            trouble: None,
            hits: Vec::new(),
        }
    }

    #[test]
    fn what_is_redirected_is_told_and_what_is_not_with_why() {
        let out = Some(Gate::Outbound);
        let wanted = Live { wanted: true, ..Live::default() };
        let with =
            |report: Option<Report>, table: Option<Table>| Live { report, table, ..wanted.clone() };
        let taken = Some(Arrival::Redirected(15001));
        let cases = [
            (
                fate(out),
                with(Some(report(true)), None),
                "redirected to Envoy, port 15001",
                taken,
                false,
            ),
            (
                fate(out),
                with(None, table(&[Gate::Outbound])),
                "redirected to Envoy, port 15001",
                taken,
                false,
            ),
            (
                fate(out),
                with(Some(report(false)), None),
                "not redirected at the moment",
                None,
                true,
            ),
            // The kernel knows better.
            (
                fate(out),
                with(Some(report(true)), table(&[])),
                "not redirected at the moment",
                None,
                true,
            ),
            (fate(out), with(None, None), "not redirected at the moment", None, true),
            (fate(None), with(Some(report(true)), None), "past Envoy", None, true),
            (fate(out), Live::default(), "past Envoy: the settings want no rules", None, true),
        ];
        for (fate, live, what, arrival, breaks) in cases {
            let case = Case { whom: "app (1000)", ours: true, listens: false };
            let (step, got) = step(&fate, &live, &case);
            assert_eq!((step.what.as_str(), got, step.breaks.is_some()), (what, arrival, breaks));
            // What is nobody's service may go past Envoy.
            let (step, _) = super::step(&fate, &live, &Case { ours: false, ..case });
            assert_eq!(step.breaks, None, "{what}");
        }
    }

    #[test]
    fn where_envoy_listens_itself_no_rule_is_needed() {
        let case = Case { whom: "app (1000)", ours: true, listens: true };
        let (step, arrival) = step(&fate(None), &Live::default(), &case);
        assert_eq!((arrival, step.breaks), (Some(Arrival::Directly), None));
    }

    #[test]
    fn changed_rules_and_conditions_are_told() {
        let table = Some(Table { open: vec![Gate::Outbound], changed: true });
        let live = Live { wanted: true, table, ..Live::default() };
        let unless = vec!["it leaves by eth1 (spared interface)".to_owned()];
        let fate = Fate { unless, ..fate(Some(Gate::Outbound)) };
        let (step, _) =
            step(&fate, &live, &Case { whom: "app (1000)", ours: true, listens: false });
        let told = step.more.join("\n");
        assert!(told.contains("it is another thing if it leaves by eth1"), "{told}");
        assert!(told.contains("`hawser intercept diff`"), "{told}");
    }
}
