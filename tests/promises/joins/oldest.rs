//! The oldest form: a pair that was issued beforehand in place of a token, and three variables.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    ca::{Certified, Shape, TestCa},
    istiod::Reach,
};

use super::tree;
use crate::rig::{Rig, said, text};

const ENV: &str = "ISTIO_CP_AUTH=MUTUAL_TLS\nISTIO_SERVICE_CIDR=10.96.0.0/12\n\
                   ISTIO_INBOUND_PORTS=3306,8080\n";
const HOUR: Duration = Duration::from_secs(3600);

/// A machine that knows where istiod is by its own settings: the fake one has a port of its own.
async fn rig() -> Result<Rig> {
    let rig = Rig::new().await?;
    let toml = rig.vm.toml()?;
    let istiod = format!("\n[istiod]\naddress = \"{}\"\n", rig.mesh.istiod.discovery_address());
    rig.vm.settings(&format!("{toml}{istiod}"))?;
    Ok(rig)
}

fn write(dir: &Path, pair: &Certified, roots: &str, more: &[(&str, &str)]) -> Result<()> {
    fs::create_dir_all(dir)?;
    let files = [
        ("cluster.env", ENV),
        ("key.pem", pair.key.as_str()),
        ("cert-chain.pem", pair.chain.as_str()),
        ("root-cert.pem", roots),
    ];
    for (name, text) in files.iter().chain(more) {
        hawser_state::write_file(&dir.join(name), 0o644, text.as_bytes())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_variables_and_three_pem_files_join_and_are_renewed_with() -> Result<()> {
    let rig = rig().await?;
    let pair = rig.mesh.istiod.ca().workload(&rig.mesh.identity(), HOUR)?;
    let dir = rig.file("oldest");
    let hosts = format!("{} istiod.istio-system.svc\n", rig.mesh.istiod.addr().ip());
    write(&dir, &pair, &rig.mesh.istiod.ca().root_pem(), &[("hosts", &hosts)])?;

    let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

    let told = said(&output);
    ensure!(output.status.success(), "{told}");
    // Nothing but the certificate says who the machine is.
    ensure!(told.contains(&format!("as {}", rig.mesh.identity())), "{told}");
    let mode = |name| -> Result<u32> {
        let path = rig.file("etc/hawser/mesh").join(name);
        Ok(fs::metadata(path)?.permissions().mode() & 0o777)
    };
    assert_eq!(mode("key.pem")?, 0o600);
    assert_eq!(mode("cert-chain.pem")?, 0o644);
    let config = said(&rig.vm.hawser(&["config"]).await?);
    let named = config.lines().find(|line| line.starts_with("node.namespace "));
    ensure!(named.is_some_and(|line| line.ends_with("etc/hawser/mesh/cert-chain.pem")), "{config}");

    let mut agent = rig.vm.start().await?;
    let seen = rig.mesh.istiod.seen();
    let csr = *seen.issued().last().context("no request was signed")?;
    ensure!(csr.shown.certificate && !csr.shown.token, "{csr:?}");
    let first = csr.certificate.clone().context("no certificate")?;
    let status = rig.vm.status().await?;
    assert_eq!(status.identity.spiffe_id, Some(rig.mesh.identity()));

    // From now on with what it was given for it.
    let renew = rig.vm.identity(&["renew"]).await?;
    ensure!(renew.status.success(), "{}", said(&renew));
    let seen = rig.mesh.istiod.seen();
    let csr = *seen.issued().last().context("no request was signed")?;
    ensure!(csr.certificate.as_ref().is_some_and(|by| by.serial != first.serial), "{csr:?}");
    let installed = fs::read_to_string(rig.file("etc/hawser/mesh/cert-chain.pem"))?;
    assert_eq!(installed, pair.chain, "what was joined stays as it was");
    agent.terminate().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_pair_gets_one_message_and_changes_nothing() -> Result<()> {
    let rig = rig().await?;
    let ca = rig.mesh.istiod.ca();
    let (own, roots) = (rig.mesh.identity(), ca.root_pem());
    let pair = || ca.workload(&own, HOUR);
    let key_of_another = Certified { key: pair()?.key, ..pair()? };
    let of_another_mesh = TestCa::new(Shape::SelfSigned)?.workload(&own, HOUR)?;
    ca.time().set(SystemTime::now() - 3 * HOUR);
    let expired = pair()?;
    ca.time().release();
    let no_key = Certified { key: "-----BEGIN\n".to_owned(), ..pair()? };
    let of_nobody = Certified { chain: "?\n".to_owned(), ..pair()? };
    let elsewhere = format!("{ENV}ISTIO_NAMESPACE=elsewhere\n");
    let led_away = format!("{ENV}PROV_CERT=/srv/pair\n");
    let before = tree(&rig.file("etc"))?;
    let table = [
        (&key_of_another, vec![], "cert-chain.pem: "),
        (&of_another_mesh, vec![], "cert-chain.pem: "),
        (&expired, vec![], "cert-chain.pem: expired "),
        (&no_key, vec![], "key.pem: "),
        (&of_nobody, vec![], "cert-chain.pem: "),
        (&pair()?, vec![("cert-chain.pem", "")], "a pair is key.pem and cert-chain.pem"),
        (&pair()?, vec![("cluster.env", elsewhere.as_str())], "and by cluster.env this machine is"),
        (&pair()?, vec![("cluster.env", led_away.as_str())], "leave it (PROV_CERT) out"),
    ];
    for (n, (pair, more, expected)) in table.into_iter().enumerate() {
        let dir = rig.file(&format!("bad-{n}"));
        write(&dir, pair, &roots, &more)?;

        let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{expected}: {told}");
        assert_eq!(told.lines().count(), 2, "{expected}: {told}");
        ensure!(told.contains(expected), "{expected}: {told}");
        ensure!(told.ends_with("hawser: nothing was changed\n"), "{told}");
        ensure!(!told.contains("MIG"), "{told}");
        assert_eq!(tree(&rig.file("etc"))?, before, "{expected}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_control_plane_in_parts_are_told_to_be_gone() -> Result<()> {
    let rig = Rig::new().await?;
    rig.mesh.istiod.reach(Reach::Down).await?;
    let pair = rig.mesh.istiod.ca().workload(&rig.mesh.identity(), HOUR)?;
    let dir = rig.file("oldest");
    let hosts = "10.0.0.1 istio-pilot istio-pilot.istio-system\n10.0.0.2 istio-citadel\n";
    write(&dir, &pair, &rig.mesh.istiod.ca().root_pem(), &[("hosts", hosts)])?;

    let output = rig.vm.hawser(&["join", text(&dir)?]).await?;

    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    ensure!(told.contains("hosts: istio-pilot is gone since Istio 1.5"), "{told}");
    ensure!(told.contains("`ADDRESS istiod.istio-system.svc`"), "{told}");
    Ok(())
}
