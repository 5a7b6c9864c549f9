//! Faults of the file of services and of what is behind its gateways, each made by a gateway and a
//! sidecar that are real Envoys.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    ca::{Shape, TestCa, spiffe_id},
    eastwest::{Member, Shows, Speaks},
    standalone::CERTIFICATES,
    wait::wait_for,
};

use super::{Fault, Seen, doctor, look};
use crate::standalone::Machine;

pub(super) const FAULTS: &[Fault] = &[
    ("services-file", a_line_that_is_wrong_is_told_with_what_was_expected),
    ("services-in-use", an_agent_that_goes_on_with_what_it_had_says_so),
    ("services-gateways", a_gateway_that_takes_no_connections_is_told),
    ("services-sni", a_service_that_no_gateway_knows_is_told),
    ("services-roots", a_workload_that_a_stranger_certifies_is_told),
    ("services-peers", a_workload_that_is_somebody_else_is_told_with_who_it_is),
    ("services-believed", a_certificate_of_another_root_is_told_with_both_roots),
    ("services-authorized", a_policy_that_keeps_this_machine_out_is_told),
];

/// A machine, its agent without an Envoy: the doctor makes its calls by itself.
struct Case {
    machine: Machine,
    _agent: Agent,
}

impl Case {
    async fn of(change: impl FnOnce(&mut Member)) -> Result<Self> {
        let mut reviews = Member::new("reviews", "prod", 9080, Speaks::Http);
        change(&mut reviews);
        Self::with(&[reviews], |_| Ok(())).await
    }

    async fn with(members: &[Member], before: impl FnOnce(&Machine) -> Result<()>) -> Result<Self> {
        let mut machine = Machine::with(members, 1).await?;
        machine.it.vm.envoy = None;
        before(&machine)?;
        let agent = machine.vm.start().await?;
        Ok(Self { machine, _agent: agent })
    }

    async fn seen(&self, check: &str) -> Result<Seen> {
        look(self.machine.vm.root(), check).await
    }

    /// Writes a file that nobody can use.
    fn damage(&self) -> Result<()> {
        let text = self.machine.text()?.replace("port: 9080", "port: ninety");
        self.machine.write(&text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_istiod_whose_services_answer_is_left_in_peace() -> Result<()> {
    let members = hawser_harness::standalone::members();
    let case = Case::with(&members, |_| Ok(())).await?;
    let report = doctor(case.machine.vm.root(), &["--only", "credentials,istiod,services"]).await?;

    for seen in report.all()? {
        seen.ok().with_context(|| format!("{:#}", report.json))?;
    }
    report.seen("joined")?.says("ok", &["standalone"])?;
    report.seen("istiod-reachable")?.says("ok", &["standalone"])?;
    report.seen("services-peers")?.says("ok", &[&spiffe_id("prod", "cart")])?;
    report.seen("services-authorized")?.says("ok", &["reviews.prod.svc.cluster.local:9080"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_wrong_is_told_with_what_was_expected() -> Result<()> {
    let case = Case::of(|_| ()).await?;
    case.damage()?;
    let report = doctor(case.machine.vm.root(), &["--only", "services"]).await?;
    let seen = report.seen("services-file")?;
    seen.failed(&["services.yaml:", "ninety", "port"], "hawser check")?;
    // What follows from it is not told again.
    report.seen("services-sni")?.says("unknown", &["services-file failed"])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_goes_on_with_what_it_had_says_so() -> Result<()> {
    let case = Case::of(|_| ()).await?;
    case.seen("services-in-use").await?.says("ok", &["1 of", "services.yaml", "standalone"])?;
    case.damage()?;
    wait_for("the agent to read it", async || {
        let seen = case.seen("services-in-use").await?;
        ensure!(seen.0["result"] != "ok", "it has not read it yet");
        Ok(())
    })
    .await?;
    let seen = case.seen("services-in-use").await?;
    seen.failed(&["what it said before is in use", "ninety"], "hawser check")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_takes_no_connections_is_told() -> Result<()> {
    let mut case = Case::of(|_| ()).await?;
    let gateway = case.machine.it.eastwest.gateway(0)?;
    let address = gateway.address();
    gateway.stop().await?;
    let seen = case.seen("services-gateways").await?;
    let remedy = format!("nc -vz {} {}", address.ip(), address.port());
    seen.failed(&[&format!("no connection to {address}"), "refused"], &remedy)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_gateways_that_is_away_is_a_warning() -> Result<()> {
    let mut machine =
        Machine::with(&[Member::new("reviews", "prod", 9080, Speaks::Http)], 2).await?;
    machine.it.vm.envoy = None;
    let _agent = machine.vm.start().await?;
    machine.it.eastwest.gateway(0)?.stop().await?;
    let seen = look(machine.vm.root(), "services-gateways").await?;
    seen.warns(&["no connection to"], "nc -vz")?;
    look(machine.vm.root(), "services-authorized").await?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_no_gateway_knows_is_told() -> Result<()> {
    let reviews = Member::new("reviews", "prod", 9080, Speaks::Http);
    let case = Case::with(&[reviews], |machine| {
        let text = machine.text()?.replace("port: 9080\n", "port: 9081\n");
        machine.write(&text)
    })
    .await?;
    let report = doctor(case.machine.vm.root(), &["--only", "services"]).await?;
    let seen = report.seen("services-sni")?;
    seen.failed(
        &["SNI outbound_.9081_._.reviews.prod.svc.cluster.local", "without a word"],
        "kubectl -n prod get service reviews",
    )?;
    report.seen("services-peers")?.says("unknown", &["services-sni failed"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_a_stranger_certifies_is_told() -> Result<()> {
    let case = Case::of(|reviews| reviews.shows = Shows::Strangers).await?;
    let seen = case.seen("services-roots").await?;
    seen.failed(
        &["which is no root of this machine", "this machine believes", "SHA-256"],
        "istio-ca-root-cert",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_somebody_else_is_told_with_who_it_is() -> Result<()> {
    let other = spiffe_id("prod", "ratings");
    let case = Case::of(|reviews| reviews.shows = Shows::Of("ratings".to_owned())).await?;
    let expected = format!("it is {other}, not {}", spiffe_id("prod", "reviews"));
    let seen = case.seen("services-peers").await?;
    seen.failed(&[&expected, "service account"], &format!("identity: {other}"))?;
    case.seen("services-roots").await?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_whose_certificate_has_expired_is_told() -> Result<()> {
    let case = Case::of(|reviews| reviews.shows = Shows::Ended).await?;
    let seen = case.seen("services-peers").await?;
    seen.failed(&["its certificate expired ", "Envoy sends nothing"], "timedatectl")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_root_is_told_with_both_roots() -> Result<()> {
    let reviews = Member::new("reviews", "prod", 9080, Speaks::Http);
    let case = Case::with(&[reviews], |machine| {
        // The mesh's roots are believed, and the pair is somebody else's.
        let stranger = TestCa::new(Shape::SelfSigned)?;
        let pair = stranger.workload(&machine.identity(), Duration::from_secs(3600))?;
        machine.vm.provision(CERTIFICATES, &pair)?;
        let roots = machine.vm.provision_roots("etc/mesh", &machine.ca.root_pem())?;
        let roots = roots.join("root-cert.pem");
        let settings = machine.vm.toml()?;
        machine.vm.settings(&format!("{settings}\n[identity]\nroots = {roots:?}\n"))
    })
    .await?;
    let seen = case.seen("services-believed").await?;
    seen.failed(&["refused with", "has to lead to the root of the mesh"], "hawser identity show")?;
    case.seen("services-roots").await?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_keeps_this_machine_out_is_told() -> Result<()> {
    let others = vec![spiffe_id("prod", "somebody")];
    let case = Case::of(|reviews| reviews.callers = Some(others)).await?;
    case.seen("services-believed").await?.ok()?;
    let seen = case.seen("services-authorized").await?;
    seen.warns(
        &["reviews.prod.svc.cluster.local:9080", "403, RBAC: access denied", "OPTIONS /"],
        "kubectl -n prod get authorizationpolicy",
    )
}
