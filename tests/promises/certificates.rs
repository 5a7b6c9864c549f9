//! Certificates come from istiod, from files or from a SPIFFE provider, and go to other programs
//! as files that switch as one set.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::Certified,
    http1,
    istiod::Wrong,
    spire::{FakeSpire, Manner},
    wait::wait_for,
};
use hawser_pki::{Bundle, Chain, Identity, PrivateKey};
use http::Method;

use crate::rig::{Rig, said, text};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_somebody_else_writes_is_served_and_followed() -> Result<()> {
    let rig = Rig::joined().await?;
    let first = pair(&rig, DAY)?;
    rig.vm.provision("srv/certs", &first)?;
    let dir = rig.vm.provision_roots("srv/certs", &rig.mesh.istiod.ca().root_pem())?;
    let flags = ["--set", "identity.source=files", "--set", "identity.files=./srv/certs"];
    let _agent = rig.vm.start_with(&flags, &[]).await?;
    until_served(&rig, &first).await?;
    // The first stream may have been quicker than the files; the next one shows them.
    let istiod = &rig.mesh.istiod;
    istiod.until("configuration", |seen| !seen.streams.is_empty()).await?;
    istiod.reset();
    let again = "configuration for who shows the certificate";
    istiod.until(again, |seen| seen.streams.iter().any(|one| one.shown.certificate)).await?;

    let second = pair(&rig, DAY)?;
    rig.vm.provision("srv/certs", &second)?;
    until_served(&rig, &second).await?;

    // Half of a set: the key alone.
    let third = pair(&rig, DAY)?;
    hawser_state::write_file(&dir.join("key.pem"), 0o600, third.key.as_bytes())?;
    let told = until_trouble(&rig, "are not of one set").await?;
    ensure!(told.contains(text(&dir)?), "it does not say where: {told}");
    until_served(&rig, &second).await?;
    assert_eq!(rig.vm.identity(&["show"]).await?.status.code(), Some(1));

    hawser_state::write_file(&dir.join("cert-chain.pem"), 0o644, third.chain.as_bytes())?;
    until_served(&rig, &third).await?;
    until_well(&rig, "files").await?;
    ensure!(rig.mesh.istiod.seen().csrs.is_empty(), "istiod is asked for nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spiffe_provider_may_come_late_die_fall_silent_and_return() -> Result<()> {
    let rig = Rig::joined().await?;
    let roots = rig.mesh.istiod.ca().root_pem();
    let flags = ["--set", "identity.source=spiffe", "--set", "identity.spiffe_socket=./spire.sock"];
    let agent = rig.vm.spawn(&flags, &[])?;
    until_trouble(&rig, "nobody serves certificates at").await?;
    ensure!(!agent.notified().ready, "ready without an identity");

    let spire = FakeSpire::start(&rig.file("spire.sock"))?;
    let first = pair(&rig, DAY)?;
    spire.give(&first, &roots);
    agent.until("ready with what the provider gives", |told| told.ready).await?;
    until_served(&rig, &first).await?;

    spire.die().await;
    until_trouble(&rig, text(spire.socket())?).await?;
    until_served(&rig, &first).await?;
    ensure!(spire.socket().exists(), "the socket is the provider's");

    let second = pair(&rig, DAY)?;
    spire.give(&second, &roots);
    spire.come_back()?;
    until_served(&rig, &second).await?;
    until_well(&rig, "SPIFFE provider").await?;

    spire.die().await;
    spire.manner(Manner::Silent);
    spire.come_back()?;
    until_trouble(&rig, "has not given").await?;
    until_served(&rig, &second).await?;
    let third = pair(&rig, DAY)?;
    spire.give(&third, &roots);
    spire.manner(Manner::Serves);
    until_served(&rig, &third).await?;
    ensure!(rig.mesh.istiod.seen().csrs.is_empty(), "istiod is asked for nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spiffe_provider_that_answers_is_used_and_istiod_stands_in_when_it_is_gone() -> Result<()>
{
    let rig = Rig::joined().await?;
    let roots = rig.mesh.istiod.ca().root_pem();
    let spire = FakeSpire::start(&rig.file("var/run/secrets/workload-spiffe-uds/socket"))?;
    let first = pair(&rig, DAY)?;
    spire.give(&first, &roots);
    let _agent = rig.vm.start().await?;
    until_served(&rig, &first).await?;
    until_well(&rig, "SPIFFE provider").await?;
    ensure!(rig.mesh.istiod.seen().csrs.is_empty(), "istiod is asked for nothing");

    // Certificates begin two minutes ago: of this one, three quarters are soon over.
    let short = pair(&rig, Duration::from_secs(56))?;
    spire.give(&short, &roots);
    until_served(&rig, &short).await?;
    spire.die().await;
    rig.mesh.istiod.until("istiod to stand in", |seen| seen.csrs.len() == 1).await?;
    until_well(&rig, "istiod").await?;
    ensure!(spire.socket().exists(), "the socket is the provider's");

    let second = pair(&rig, DAY)?;
    spire.give(&second, &roots);
    spire.come_back()?;
    until_served(&rig, &second).await?;
    until_well(&rig, "SPIFFE provider").await
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_find_a_key_that_fits_its_chain_at_every_look() -> Result<()> {
    let rig = Rig::joined().await?;
    let dir = rig.file("etc/certs");
    fs::create_dir_all(&dir)?;
    let flags = ["--set", "identity.ttl=4s"];
    let _agent = rig.vm.start_with(&flags, &[("OUTPUT_CERTS", "./etc/certs")]).await?;
    wait_for("the first set", async || set(&dir)).await?;
    assert_eq!(modes(&dir)?, [0o600, 0o644, 0o644]);

    let mut leaves = BTreeSet::new();
    wait_for("three sets, one after the other", async || {
        // What does not fit ends the wait.
        let found = match set(&dir) {
            Ok(found) => found,
            Err(wrong) => return Ok(Err(wrong)),
        };
        leaves.insert(found.chain.leaf_der().to_vec());
        ensure!(leaves.len() >= 3, "{} so far", leaves.len());
        Ok(Ok(()))
    })
    .await?
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_the_modes_that_are_wanted_and_a_program_is_told_of_new_ones() -> Result<()> {
    let rig = Rig::joined().await?;
    let (dir, script, told) = (rig.file("srv/certs"), rig.file("tell.sh"), rig.file("told"));
    fs::create_dir_all(&dir)?;
    let line = format!("readlink {}/..data >>{}\n", dir.display(), told.display());
    hawser_state::write_file(&script, 0o600, line.as_bytes())?;
    let settings = format!(
        "{}\n[export]\ndirectory = \"./srv/certs\"\nkey_mode = \"0640\"\nmode = \"0444\"\n\
         command = \"/bin/sh {}\"\n",
        rig.vm.toml()?,
        script.display()
    );
    rig.vm.settings(&settings)?;
    let _agent = rig.vm.start().await?;

    until_told(&told, &["..hawser-1"]).await?;
    assert_eq!(modes(&dir)?, [0o640, 0o444, 0o444]);
    let stamp = rig.file("run/hawser/exported");
    let stamped = fs::metadata(&stamp)?.modified()?;
    let first = set(&dir)?;

    let renewed = rig.vm.identity(&["renew"]).await?;
    ensure!(renewed.status.success(), "{}", said(&renewed));
    until_told(&told, &["..hawser-1", "..hawser-2"]).await?;
    ensure!(fs::metadata(&stamp)?.modified()? > stamped, "the stamp is an old one");
    ensure!(set(&dir)?.chain.ders() != first.chain.ders(), "the set is an old one");
    assert_eq!(modes(&dir)?, [0o640, 0o444, 0o444]);
    let shown = rig.vm.identity(&["show"]).await?;
    ensure!(said(&shown).contains("files        in place"), "{}", said(&shown));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_exported_once_on_demand() -> Result<()> {
    let rig = Rig::joined().await?;
    let out = rig.file("out");
    fs::create_dir_all(&out)?;
    let nobody = rig.vm.identity(&["export", text(&out)?]).await?;
    assert_eq!(nobody.status.code(), Some(1));
    ensure!(said(&nobody).contains("nobody serves certificates at"), "{}", said(&nobody));
    let _agent = rig.vm.start().await?;

    let once = rig.vm.identity(&["export", text(&out)?]).await?;
    ensure!(once.status.success(), "{}", said(&once));
    ensure!(said(&once).contains("exported to"), "{}", said(&once));
    assert_eq!(set(&out)?.chain.ders(), served(&rig).await?.chain.ders());
    assert_eq!(modes(&out)?, [0o600, 0o644, 0o644]);
    let key = fs::read_to_string(out.join("key.pem"))?;
    ensure!(key.starts_with("-----BEGIN EC PRIVATE KEY-----"), "not as Istio's agent writes it");

    let twice = rig.vm.identity(&["export", text(&out)?]).await?;
    ensure!(twice.status.success(), "{}", said(&twice));
    ensure!(said(&twice).contains("has them already"), "{}", said(&twice));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_only_keeps_certificates_does_nothing_else() -> Result<()> {
    let rig = Rig::joined().await?;
    let flags = ["--set", "identity.only=true", "--set", "identity.ttl=4s"];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;

    let seen = rig.mesh.istiod.until("a renewal", |seen| seen.csrs.len() > 1).await?;
    ensure!(seen.streams.is_empty(), "configuration is asked for: {:?}", seen.streams);
    for absent in ["run/hawser/xds.sock", "run/hawser/envoy.json"] {
        ensure!(!rig.file(absent).exists(), "{absent} is there");
    }
    let status = rig.status().await?;
    assert_eq!(status["state"], "ready");
    for absent in ["istiod", "names", "relay", "dns", "envoy"] {
        ensure!(status.get(absent).is_some_and(serde_json::Value::is_null), "{absent}: {status}");
    }
    let screen = rig.vm.hawser(&["status"]).await?;
    ensure!(screen.status.success(), "{}", said(&screen));
    ensure!(said(&screen).contains("certificates only"), "{}", said(&screen));
    let ready = http1::call(status_port(&rig)?, &Method::GET, "/healthz/ready", &[]).await?;
    assert_eq!(ready.status, 200);
    served(&rig).await?;
    assert_eq!(agent.terminate().await?.code(), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_says_who_the_machine_is_and_what_is_wrong() -> Result<()> {
    let rig = Rig::joined().await?;
    assert_eq!(rig.vm.identity(&["show"]).await?.status.code(), Some(3), "nobody answers");
    let _agent = rig.vm.start().await?;

    let shown = rig.vm.identity(&["show"]).await?;
    assert_eq!(shown.status.code(), Some(0), "{}", said(&shown));
    let lines = [
        format!("identity     {}", rig.mesh.identity()),
        "source       istiod".to_owned(),
        "key          ecdsa-p256".to_owned(),
        ": so long without istiod".to_owned(),
        "at rest      plain, for its owner alone".to_owned(),
        "roots        1, the first ends in ".to_owned(),
        "would show   own certificate".to_owned(),
    ];
    for line in lines {
        ensure!(said(&shown).contains(&line), "{line:?} is not in:\n{}", said(&shown));
    }

    rig.mesh.istiod.faults(|faults| faults.ca = Some(Wrong::Short));
    let renewed = rig.vm.identity(&["renew"]).await?;
    assert_eq!(renewed.status.code(), Some(1), "{}", said(&renewed));
    ensure!(
        said(&renewed).contains("without a certificate chain and its root"),
        "{}",
        said(&renewed)
    );
    let shown = rig.vm.identity(&["show"]).await?;
    assert_eq!(shown.status.code(), Some(1), "{}", said(&shown));
    ensure!(said(&shown).contains("wrong "), "{}", said(&shown));
    let shown = rig.vm.identity(&["show", "--json"]).await?;
    assert_eq!(shown.status.code(), Some(1), "{}", said(&shown));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
    assert_eq!(shown["spiffe_id"], rig.mesh.identity());
    ensure!(shown["failed"].as_u64() > Some(0), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_watches_is_under_istios_names() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;

    let port = status_port(&rig)?;
    let metrics = http1::call(port, &Method::GET, "/stats/prometheus", &[]).await?.body;
    let value = |name: &str| -> Result<f64> {
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {name} in:\n{metrics}"))?.parse()?)
    };

    let left = value("istio_agent_cert_expiry_seconds{resource_name=\"default\"}")?;
    ensure!(left > 23.0 * 3600.0 && left <= 24.0 * 3600.0, "{left}");
    let asked = value("istio_agent_num_outgoing_requests{request_type=\"csr\"}")?;
    ensure!((asked - 1.0).abs() < f64::EPSILON, "{asked}");
    let failed = value("istio_agent_num_failed_outgoing_requests{request_type=\"csr\"}")?;
    ensure!(failed.abs() < f64::EPSILON, "{failed}");
    ensure!(value("hawser_token_expiry_seconds")? > 0.0, "{metrics}");
    ensure!(value("hawser_roots_expiry_seconds")? > 0.0, "{metrics}");
    Ok(())
}

/// What Envoy is served at this moment.
pub(crate) async fn served(rig: &Rig) -> Result<Identity> {
    Ok(hawser_identity::fetch(&rig.file("run/hawser/sds.sock")).await?)
}

/// A pair for the machine, as another than istiod would issue it.
fn pair(rig: &Rig, ttl: Duration) -> Result<Certified> {
    rig.mesh.istiod.ca().workload(&rig.mesh.identity(), ttl)
}

/// Waits until Envoy is served this pair.
async fn until_served(rig: &Rig, pair: &Certified) -> Result<()> {
    let wanted = Chain::from_pem(&pair.chain)?;
    wait_for("the pair to be served", async || {
        let served = served(rig).await?;
        ensure!(served.chain.leaf_der() == wanted.leaf_der(), "served is {served:?}");
        Ok(())
    })
    .await
}

/// Waits until it is told that something is wrong.
async fn until_trouble(rig: &Rig, part: &str) -> Result<String> {
    wait_for("the trouble in the status", async || {
        let status = rig.status().await?;
        let trouble = status["identity"]["trouble"].as_str().context("no trouble yet")?;
        ensure!(trouble.contains(part), "{trouble}");
        Ok(trouble.to_owned())
    })
    .await
}

/// Waits until nothing is wrong with what comes from there.
async fn until_well(rig: &Rig, source: &str) -> Result<()> {
    wait_for("nothing to be wrong", async || {
        let status = rig.status().await?;
        let identity = &status["identity"];
        ensure!(identity["source"] == source && identity["trouble"].is_null(), "{identity}");
        Ok(())
    })
    .await
}

async fn until_told(file: &Path, lines: &[&str]) -> Result<()> {
    wait_for("the program to be told", async || {
        let told = fs::read_to_string(file)?;
        ensure!(told.lines().eq(lines.iter().copied()), "{told}");
        Ok(())
    })
    .await
}

/// The three files of one set, looked up once.
fn files(dir: &Path) -> Result<[PathBuf; 3]> {
    let version = dir.join(fs::read_link(dir.join("..data"))?);
    Ok(["key.pem", "cert-chain.pem", "root-cert.pem"].map(|name| version.join(name)))
}

/// What another program makes of them.
fn set(dir: &Path) -> Result<Identity> {
    let [key, chain, roots] = files(dir)?.map(fs::read_to_string);
    let (key, chain) = (PrivateKey::from_pem(&key?)?, Chain::from_pem(&chain?)?);
    Ok(Identity::new(key, chain, Bundle::from_pem(&roots?)?)?)
}

fn modes(dir: &Path) -> Result<[u32; 3]> {
    let [key, chain, roots] = files(dir)?.map(fs::metadata);
    let mode = |file: std::io::Result<fs::Metadata>| -> Result<u32> {
        Ok(file?.permissions().mode() & 0o7777)
    };
    Ok([mode(key)?, mode(chain)?, mode(roots)?])
}

fn status_port(rig: &Rig) -> Result<SocketAddr> {
    let settings: toml::Table = rig.vm.toml()?.parse()?;
    let listen = settings["status"]["listen"].as_str().context("no status.listen")?;
    Ok(listen.parse()?)
}
