//! Every credential is the other's fallback, whoever hands it over. What is not believed is named
//! with its remedy, and nothing has to be restarted when it is mended.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    agent::Agent,
    ca::{Certified, Shape, TestCa},
    istiod::Csr,
    metadata::{Asked, FakeMetadata, Manner},
    token::Claims,
    wait::wait_for,
};
use serde_json::{Value, json};

use crate::rig::{Rig, said, text};

const HOUR: Duration = Duration::from_secs(3600);
const TOKEN: &str = "etc/hawser/mesh/istio-token";
/// Where Istio's start script provisions a pair, and where one is looked for if nothing is said.
const PROVISIONED: &str = "etc/certs";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_alone_obtains_the_first_certificate() -> Result<()> {
    let rig = Rig::joined().await?;

    let _agent = rig.vm.start().await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.token && !csr.shown.certificate, "{csr:?}");
    assert_eq!(csr.identities, [rig.mesh.identity()]);
    ensure!(how(&rig).await?.starts_with("token file "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_kept_renews_itself_beside_an_expired_token() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    write_token(&rig, &expired_token(&rig)?)?;

    let _agent = rig.vm.start().await?;
    renewed(&rig).await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.certificate && !csr.shown.token, "the stale token is left out: {csr:?}");
    let identity = shown(&rig).await?;
    assert_eq!(identity["trouble"], Value::Null);
    let token = prospect(&identity, "token file ")?;
    let note = token["note"].as_str().unwrap_or_default();
    ensure!(note.starts_with("expired ") && note.contains("istioctl"), "{note}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_token_are_shown_together_and_the_certificate_counts() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;

    renewed(&rig).await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.certificate && csr.shown.token, "{csr:?}");
    let by = csr.certificate.map(|certificate| certificate.identity);
    assert_eq!(by, Some(rig.mesh.identity()));
    ensure!(how(&rig).await?.starts_with("own certificate and token file "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_expired_pair_the_token_is_shown_alone() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.provision(PROVISIONED, &expired_pair(&rig)?)?;

    let _agent = rig.vm.start().await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.token && !csr.shown.certificate, "{csr:?}");
    let identity = shown(&rig).await?;
    let pair = prospect(&identity, "provisioned certificate ")?;
    ensure!(pair["note"].as_str().is_some_and(|note| note.starts_with("expired ")), "{pair}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_has_expired_that_is_named_and_a_new_token_file_heals_it() -> Result<()> {
    let rig = Rig::joined().await?;
    let mut agent = rig.vm.start_with(&["--set", "identity.ttl=2s"], &[]).await?;
    agent.terminate().await?;
    // The last second of a certificate is a whole one.
    let not_after = last_csr(&rig)?.at + Duration::from_secs(3);
    rig.vm.provision(PROVISIONED, &expired_pair(&rig)?)?;
    write_token(&rig, &expired_token(&rig)?)?;
    wait_for("the end of the certificate", async || {
        ensure!(SystemTime::now() > not_after, "it is valid yet");
        Ok(())
    })
    .await?;

    let agent = rig.vm.spawn(&[], &[])?;
    let told = trouble(&rig).await?;
    for remedy in ["expired ", "write a fresh bundle with istioctl"] {
        ensure!(told.contains(remedy), "no {remedy:?} in: {told}");
    }
    // systemd need not wait for what may never come; who asks for the mesh is told.
    agent.until("a boot that goes on", |told| told.ready).await?;
    assert_eq!(rig.waits_for().await?, json!(["identity"]));

    write_token(&rig, &fresh_token(&rig)?)?;

    wait_for("an identity by the new token", async || {
        let waits = rig.waits_for().await?;
        ensure!(waits == json!([]), "waits for {waits}");
        Ok(())
    })
    .await?;
    assert_eq!(rig.status().await?["identity"]["trouble"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_of_another_root_falls_through_to_the_token_in_the_same_attempt() -> Result<()> {
    let rig = Rig::joined().await?;
    let other = TestCa::new(Shape::SelfSigned)?;
    rig.vm.provision(PROVISIONED, &other.workload(&rig.mesh.identity(), HOUR)?)?;

    let agent = rig.vm.start().await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.token && !csr.shown.certificate, "{csr:?}");
    let identity = shown(&rig).await?;
    ensure!(identity["asked"] == 1 && identity["failed"] == 0, "{identity}");
    in_log(&agent, "istiod rejects a certificate")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_tls_rejects_falls_through_to_the_token_in_the_same_attempt()
-> Result<()> {
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    rig.mesh.istiod.faults(|faults| faults.rejects_certificates = true);

    renewed(&rig).await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.token && !csr.shown.certificate, "{csr:?}");
    let identity = shown(&rig).await?;
    ensure!(identity["asked"] == 2 && identity["failed"] == 0, "{identity}");
    in_log(&agent, "istiod rejects a certificate")
}

// An authority that heeds tokens alone, as istio-csr does.

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_ignores_certificates_is_named_and_a_fresh_token_heals_it() -> Result<()>
{
    let rig = Rig::joined().await?;
    let agent = rig.vm.start().await?;
    rig.mesh.istiod.faults(|faults| faults.ignores_certificates = true);
    write_token(&rig, &expired_token(&rig)?)?;

    let output = rig.vm.identity(&["renew"]).await?;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let identity = shown(&rig).await?;
    assert_eq!(identity["spiffe_id"], rig.mesh.identity(), "the old one is served");
    let own = prospect(&identity, "own certificate")?;
    let note = own["note"].as_str().unwrap_or_default();
    let address = rig.mesh.istiod.discovery_address();
    for part in ["ignored by", &address, "a token has to be kept fresh"] {
        ensure!(note.contains(part), "no {part:?} in: {note}");
    }
    in_log(&agent, "client certificates are ignored here")?;

    write_token(&rig, &fresh_token(&rig)?)?;

    wait_for("the end of the trouble", async || {
        let identity = shown(&rig).await?;
        ensure!(identity["trouble"] == Value::Null, "{identity}");
        Ok(())
    })
    .await?;
    ensure!(last_csr(&rig)?.shown.token);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_ignored_a_valid_token_renews_in_the_same_attempt() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.mesh.istiod.faults(|faults| faults.ignores_certificates = true);
    let _agent = rig.vm.start().await?;

    renewed(&rig).await?;

    let identity = shown(&rig).await?;
    ensure!(identity["asked"] == 2 && identity["failed"] == 0, "{identity}");
    Ok(())
}

// Other hands that give credentials.

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_prints_a_token_is_as_good_as_a_file() -> Result<()> {
    let rig = Rig::joined().await?;
    let hidden = rig.file("hidden");
    fs::rename(rig.file(TOKEN), &hidden)?;
    let script = format!(
        "#!/bin/sh\n[ \"$HAWSER_AUDIENCE\" = istio-ca ] && [ \"$1\" = 'two words' ] && cat {}\n",
        text(&hidden)?
    );
    let program = rig.file("token.sh");
    hawser_state::write_file(&program, 0o755, script.as_bytes())?;
    let setting = format!("istiod.token_command={} \"two words\"", text(&program)?);

    let _agent = rig.vm.start_with(&["--set", &setting], &[]).await?;

    ensure!(last_csr(&rig)?.shown.token);
    assert_eq!(how(&rig).await?, format!("token of the program {}", text(&program)?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_named_and_passed_over_for_the_certificate() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.start().await?.terminate().await?;
    fs::remove_file(rig.file(TOKEN))?;
    let program = rig.file("token.sh");
    hawser_state::write_file(&program, 0o755, b"#!/bin/sh\necho no luck >&2\nexit 3\n")?;
    let setting = format!("istiod.token_command={}", text(&program)?);

    let _agent = rig.vm.start_with(&["--set", &setting], &[]).await?;
    renewed(&rig).await?;
    ensure!(last_csr(&rig)?.shown.certificate);

    rig.mesh.istiod.faults(|faults| faults.rejects_certificates = true);
    let output = rig.vm.identity(&["renew"]).await?;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let identity = shown(&rig).await?;
    let program = prospect(&identity, "token of the program ")?;
    let note = program["note"].as_str().unwrap_or_default();
    ensure!(note.contains("istiod.token_command") && note.contains("no luck"), "{note}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_google_joins_by_its_metadata_server() -> Result<()> {
    let rig = Rig::joined().await?;
    fs::remove_file(rig.file(TOKEN))?;
    let metadata = FakeMetadata::start(rig.mesh.istiod.tokens(), "vms", "web").await?;
    // The fake istiod has no authenticator for Google's own tokens.
    metadata.manner(Manner::Says(fresh_token(&rig)?));
    let setting = format!("istiod.gce_metadata={}", metadata.addr());
    let flags =
        ["--set", "istiod.credential_fetcher=GoogleComputeEngine", "--set", setting.as_str()];

    let _agent = rig.vm.start_with(&flags, &[]).await?;

    let asked = metadata.asked();
    let right = |one: &Asked| one.flavour && one.audience.as_deref() == Some("cluster.local");
    ensure!(!asked.is_empty() && asked.iter().all(right), "{asked:?}");
    ensure!(last_csr(&rig)?.shown.token);
    ensure!(how(&rig).await?.starts_with("token of the metadata server "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_systemd_hands_over_is_as_good_as_a_file() -> Result<()> {
    let rig = Rig::joined().await?;
    let credentials = rig.file("run/credentials/hawser.service");
    fs::create_dir_all(&credentials)?;
    fs::rename(rig.file(TOKEN), credentials.join("istio-token"))?;
    let env = [("CREDENTIALS_DIRECTORY", text(&credentials)?)];

    let _agent = rig.vm.start_with(&[], &env).await?;

    ensure!(last_csr(&rig)?.shown.token);
    ensure!(how(&rig).await?.starts_with("systemd credential "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioned_pair_joins_without_any_token() -> Result<()> {
    let rig = Rig::joined().await?;
    fs::remove_file(rig.file(TOKEN))?;
    let pair = rig.mesh.istiod.ca().workload(&rig.mesh.identity(), HOUR)?;
    let dir = rig.vm.provision("srv/pair", &pair)?;

    let _agent = rig.vm.start_with(&[], &[("PROV_CERT", text(&dir)?)]).await?;

    let csr = last_csr(&rig)?;
    ensure!(csr.shown.certificate && !csr.shown.token, "{csr:?}");
    assert_eq!(fs::read_to_string(dir.join("cert-chain.pem"))?, pair.chain, "it is not ours");
    renewed(&rig).await?;
    let by = last_csr(&rig)?.certificate.context("no certificate")?;
    let provisioned = csr.certificate.context("no certificate")?;
    ensure!(by.serial != provisioned.serial, "the own one is shown as soon as there is one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_is_provisioned_later_heals_a_machine_without_credentials() -> Result<()> {
    let rig = Rig::joined().await?;
    fs::remove_file(rig.file(TOKEN))?;
    let agent = rig.vm.spawn(&[], &[])?;
    trouble(&rig).await?;

    rig.vm.provision(PROVISIONED, &rig.mesh.istiod.ca().workload(&rig.mesh.identity(), HOUR)?)?;

    agent.until("ready by the pair", |told| told.ready).await?;
    ensure!(last_csr(&rig)?.shown.certificate);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_swapped_as_kubernetes_does_is_used_at_once() -> Result<()> {
    let rig = Rig::joined().await?;
    let dir = rig.file("srv/tokens");
    for (version, token) in [("old", expired_token(&rig)?), ("new", fresh_token(&rig)?)] {
        fs::create_dir_all(dir.join(version))?;
        let file = dir.join(version).join("istio-token");
        hawser_state::write_file(&file, 0o600, token.as_bytes())?;
    }
    symlink("old", dir.join("..data"))?;
    symlink("..data/istio-token", dir.join("istio-token"))?;
    let setting = format!("istiod.token={}", text(&dir.join("istio-token"))?);
    let agent = rig.vm.spawn(&["--set", &setting], &[])?;
    trouble(&rig).await?;

    symlink("new", dir.join("..fresh"))?;
    fs::rename(dir.join("..fresh"), dir.join("..data"))?;

    agent.until("ready by the new token", |told| told.ready).await?;
    Ok(())
}

/// The last request for a certificate that istiod has seen.
fn last_csr(rig: &Rig) -> Result<Csr> {
    rig.mesh.istiod.seen().csrs.pop().context("no certificate was asked for")
}

fn fresh_token(rig: &Rig) -> Result<String> {
    rig.mesh.istiod.tokens().mint(&Claims::new("vms", "web"))
}

fn expired_token(rig: &Rig) -> Result<String> {
    let claims = Claims { expires: SystemTime::now() - HOUR, ..Claims::new("vms", "web") };
    rig.mesh.istiod.tokens().mint(&claims)
}

fn write_token(rig: &Rig, token: &str) -> Result<()> {
    Ok(hawser_state::write_file(&rig.file(TOKEN), 0o600, token.as_bytes())?)
}

/// A pair of this mesh that has expired an hour ago.
fn expired_pair(rig: &Rig) -> Result<Certified> {
    let ca = rig.mesh.istiod.ca();
    ca.time().set(SystemTime::now() - 2 * HOUR);
    let pair = ca.workload(&rig.mesh.identity(), HOUR);
    ca.time().release();
    pair
}

async fn renewed(rig: &Rig) -> Result<()> {
    let output = rig.vm.identity(&["renew"]).await?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

/// What `hawser identity show --json` prints.
async fn shown(rig: &Rig) -> Result<Value> {
    let output = rig.vm.identity(&["show", "--json"]).await?;
    serde_json::from_slice(&output.stdout).with_context(|| said(&output))
}

/// What the certificate was obtained with.
async fn how(rig: &Rig) -> Result<String> {
    let identity = shown(rig).await?;
    let how = identity["obtained"]["credential"].as_str();
    Ok(how.with_context(|| format!("not obtained: {identity}"))?.to_owned())
}

fn prospect(identity: &Value, what: &str) -> Result<Value> {
    let all = identity["would_show"].as_array().context("nothing to show")?;
    let is = |one: &&Value| one["what"].as_str().is_some_and(|found| found.starts_with(what));
    all.iter().find(is).cloned().with_context(|| format!("no {what}in {all:?}"))
}

/// What is wrong with the certificate, as soon as something is.
async fn trouble(rig: &Rig) -> Result<String> {
    wait_for("the trouble in the status", async || {
        let status = rig.status().await?;
        let trouble = status["identity"]["trouble"].as_str();
        Ok(trouble.with_context(|| format!("no trouble yet: {status}"))?.to_owned())
    })
    .await
}

fn in_log(agent: &Agent, message: &str) -> Result<()> {
    let log = fs::read_to_string(agent.log())?;
    ensure!(log.contains(message), "no {message:?} in the log:\n{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_once_at_the_first_boot_is_run_again() -> Result<()> {
    let rig = Rig::joined().await?;
    let hidden = rig.file("hidden");
    fs::rename(rig.file("etc/hawser/mesh/istio-token"), &hidden)?;
    let (token, once) = (text(&hidden)?, text(&rig.file("once"))?.to_owned());
    let script = format!("#!/bin/sh\n[ -e {once} ] || {{ touch {once}; exit 1; }}\ncat {token}\n");
    let program = rig.file("token.sh");
    hawser_state::write_file(&program, 0o755, script.as_bytes())?;
    let setting = format!("istiod.token_command={}", text(&program)?);

    let _agent = rig.vm.start_with(&["--set", &setting], &[]).await?;

    assert_eq!(rig.status().await?["identity"]["spiffe_id"], rig.mesh.identity());
    Ok(())
}
