//! Faults of settings, token, certificate and roots.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use hawser_harness::{
    ca::{Certified, Shape, TestCa},
    istiod::Wrong,
    mesh::{ACCOUNT, NAMESPACE},
    time::Time,
    token::Claims,
};

use super::{Fault, Seen, Site, doctor, look};
use crate::rig::{Rig, text};

pub(super) const FAULTS: &[Fault] = &[
    ("joined", a_machine_that_has_not_joined_is_told_to),
    ("configuration", every_setting_that_is_wrong_is_named),
    ("token", a_token_that_is_not_there_or_none_is_told),
    ("token-expiry", a_token_that_has_expired_is_told_where_it_is_needed),
    ("token-audience", a_token_for_somebody_else_than_istiod_is_told),
    ("token-subject", a_token_of_another_account_is_told),
    ("provisioned-pair", a_pair_of_another_machine_is_named),
    ("certificate-kept", a_damaged_state_is_named_and_left_alone),
    ("certificate", a_certificate_that_has_expired_is_told),
    ("runway", a_certificate_that_is_not_renewed_is_told_with_the_reason),
    ("spiffe-id", a_certificate_for_another_than_is_configured_is_told),
    ("roots", a_root_file_without_a_root_is_named),
    ("root-expiry", a_root_that_has_expired_is_told),
    ("root-covers", a_root_that_was_rotated_away_is_told),
    ("secret-files", a_token_that_anybody_can_read_is_named),
];

/// What one check says.
async fn seen(rig: &Rig, check: &str) -> Result<Seen> {
    look(rig.vm.root(), check).await
}

fn joined_file(rig: &Rig, name: &str) -> PathBuf {
    rig.file("etc/hawser/mesh").join(name)
}

fn put(rig: &Rig, name: &str, text: &str) -> Result<()> {
    super::put(rig.vm.root(), &format!("etc/hawser/mesh/{name}"), text)
}

/// Another token in the place of the one that was joined with.
fn mint(rig: &Rig, edit: impl FnOnce(Claims) -> Claims) -> Result<()> {
    let tokens = rig.mesh.istiod.tokens();
    put(rig, "istio-token", &tokens.mint(&edit(tokens.claims(NAMESPACE, ACCOUNT)))?)
}

/// Has the machine a certificate from before, as its agent keeps it.
fn keep(rig: &Rig, pair: &Certified, roots: &str) -> Result<()> {
    let store = hawser_state::Store::open(&rig.file("var/lib/hawser"))?;
    let mut body = Vec::new();
    for part in [pair.key.as_str(), &pair.chain, roots] {
        body.extend(u32::try_from(part.len())?.to_be_bytes());
        body.extend(part.as_bytes());
    }
    Ok(store.write(hawser_identity::FILE, hawser_identity::VERSION, &body)?)
}

fn keep_good(rig: &Rig) -> Result<()> {
    let ca = rig.mesh.istiod.ca();
    keep(rig, &ca.workload(&rig.mesh.identity(), DAY)?, &ca.root_pem())
}

const DAY: Duration = Duration::from_secs(86_400);

fn days_ago(days: u32) -> Time {
    Time::standing(SystemTime::now() - DAY * days)
}

#[tokio::test]
async fn a_machine_with_good_credentials_is_left_in_peace() -> Result<()> {
    let rig = Rig::joined().await?;
    let all = async || anyhow::Ok(doctor(rig.vm.root(), &["--only", "credentials"]).await?);
    for seen in all().await?.all()? {
        seen.ok()?;
    }

    keep_good(&rig)?;
    for seen in all().await?.all()? {
        seen.ok()?;
    }

    let _agent = rig.vm.start().await?;
    for seen in all().await?.all()? {
        seen.ok()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_that_has_not_joined_is_told_to() -> Result<()> {
    let site = Site::new()?;
    let seen = site.look("joined").await?;
    seen.failed(&["there is nothing in", "etc/hawser/mesh"], "hawser join BUNDLE")
}

#[tokio::test]
async fn every_setting_that_is_wrong_is_named() -> Result<()> {
    let rig = Rig::joined().await?;
    rig.vm.settings("[dns]\nlisten = \"nowhere\"\n[status]\nlisten = \"15020\"\n")?;
    let seen = seen(&rig, "configuration").await?;
    seen.failed(&["dns.listen = \"nowhere\"", "status.listen = \"15020\""], "hawser check")
}

#[tokio::test]
async fn a_token_that_is_not_there_or_none_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    put(&rig, "istio-token", "not a token")?;
    let told = seen(&rig, "token").await?;
    told.failed(&["istio-token is no token: it has not three parts"], "hawser join BUNDLE")?;

    fs::remove_file(joined_file(&rig, "istio-token"))?;
    seen(&rig, "token").await?.failed(&["there is no", "istio-token"], "hawser join BUNDLE")?;

    // A machine that has its certificate needs none.
    keep_good(&rig)?;
    seen(&rig, "token").await?.says("ok", &["not needed"])
}

#[tokio::test]
async fn a_token_that_the_service_cannot_read_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    super::put(rig.vm.root(), "etc/passwd", "istio-proxy:x:4711:4711::/:/\n")?;
    fs::set_permissions(joined_file(&rig, "istio-token"), Permissions::from_mode(0o600))?;
    let seen = seen(&rig, "token").await?;
    seen.failed(&["cannot be read by user 4711"], "chown 4711")
}

#[tokio::test]
async fn a_token_that_has_expired_is_told_where_it_is_needed() -> Result<()> {
    let rig = Rig::joined().await?;
    mint(&rig, |claims| Claims { expires: SystemTime::now() - 3 * DAY, ..claims })?;
    let told = seen(&rig, "token-expiry").await?;
    told.failed(&["istio-token expired 3 days ago"], "istioctl x workload entry configure")?;

    keep_good(&rig)?;
    seen(&rig, "token-expiry").await?.says("ok", &["expired 3 days ago", "not needed"])
}

#[tokio::test]
async fn a_token_for_somebody_else_than_istiod_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    mint(&rig, |claims| Claims { audience: "vault".to_owned(), ..claims })?;
    let seen = seen(&rig, "token-audience").await?;
    seen.failed(&["made for vault", "istio-ca"], "hawser join BUNDLE")
}

#[tokio::test]
async fn a_token_of_another_account_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    mint(&rig, |claims| Claims { service_account: "db".to_owned(), ..claims })?;
    let seen = seen(&rig, "token-subject").await?;
    seen.failed(
        &["system:serviceaccount:vms:db", "this machine is spiffe://cluster.local/ns/vms/sa/web"],
        "hawser join BUNDLE",
    )
}

#[tokio::test]
async fn a_pair_of_another_machine_is_named() -> Result<()> {
    let rig = Rig::joined().await?;
    let ca = rig.mesh.istiod.ca();
    let good = ca.workload(&rig.mesh.identity(), DAY)?;
    rig.vm.provision("etc/certs", &good)?;
    seen(&rig, "provisioned-pair").await?.says("ok", &["etc/certs is good"])?;

    let other = ca.workload("spiffe://cluster.local/ns/vms/sa/db", DAY)?;
    rig.vm.provision("etc/certs", &other)?;
    let told = seen(&rig, "provisioned-pair").await?;
    told.failed(&["etc/certs/cert-chain.pem", "ns/vms/sa/db"], "issue another pair")?;

    let torn = Certified { key: good.key, chain: other.chain };
    rig.vm.provision("etc/certs", &torn)?;
    let told = seen(&rig, "provisioned-pair").await?;
    told.failed(&["private key does not fit the certificate"], "issue another pair")
}

#[tokio::test]
async fn a_damaged_state_is_named_and_left_alone() -> Result<()> {
    let rig = Rig::joined().await?;
    keep_good(&rig)?;
    let file = rig.file("var/lib/hawser/identity");
    let mut bytes = fs::read(&file)?;
    *bytes.last_mut().context("an empty file")? ^= 1;
    super::put(rig.vm.root(), "var/lib/hawser/identity", "")?;
    hawser_state::write_file(&file, 0o600, &bytes)?;

    let seen = seen(&rig, "certificate-kept").await?;

    seen.failed(&["var/lib/hawser/identity", "checksum"], "systemctl restart hawser")?;
    assert_eq!(fs::read(&file)?, bytes);
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let ca = TestCa::at(Shape::SelfSigned, &days_ago(5))?;
    keep(&rig, &ca.workload(&rig.mesh.identity(), DAY)?, &ca.root_pem())?;
    let seen = seen(&rig, "certificate").await?;
    seen.failed(&["that is kept expired 4 days ago", "not running"], "hawser identity renew")
}

#[tokio::test]
async fn a_certificate_that_is_not_renewed_is_told_with_the_reason() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    seen(&rig, "runway").await?.ok()?;

    rig.mesh.istiod.faults(|faults| faults.ca = Some(Wrong::NotPem));
    rig.vm.hawser(&["identity", "renew"]).await?;

    let seen = seen(&rig, "runway").await?;
    seen.warns(&["is not renewed", "certificate that cannot be used"], "hawser identity renew")
}

#[tokio::test]
async fn a_certificate_for_another_than_is_configured_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let _agent = rig.vm.start().await?;
    let settings = rig.vm.toml()?;
    rig.vm.settings(&format!("{settings}\n[node]\nservice_account = \"db\"\n"))?;
    let seen = seen(&rig, "spiffe-id").await?;
    seen.failed(
        &["ns/vms/sa/web, and", "configured as", "ns/vms/sa/db"],
        "systemctl restart hawser",
    )
}

#[tokio::test]
async fn a_root_file_without_a_root_is_named() -> Result<()> {
    let rig = Rig::joined().await?;
    put(&rig, "root-cert.pem", "no root\n")?;
    let told = seen(&rig, "roots").await?;
    told.failed(&["root-cert.pem", "expected the root certificate in PEM"], "hawser join BUNDLE")?;

    // A running agent has learned others.
    put(&rig, "root-cert.pem", &rig.mesh.istiod.ca().root_pem())?;
    let _agent = rig.vm.start().await?;
    put(&rig, "root-cert.pem", "no root\n")?;
    seen(&rig, "roots").await?.warns(&["goes by the roots that came"], "hawser join BUNDLE")
}

#[tokio::test]
async fn a_root_that_has_expired_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    let old = TestCa::with_root_ttl(Shape::SelfSigned, &days_ago(30), DAY)?;
    put(&rig, "root-cert.pem", &old.root_pem())?;
    let told = seen(&rig, "root-expiry").await?;
    told.failed(&["root-cert.pem expired 29 days ago", "clock is ahead"], "hawser join BUNDLE")?;

    let ending = TestCa::with_root_ttl(Shape::SelfSigned, &Time::default(), 5 * DAY)?;
    put(&rig, "root-cert.pem", &ending.root_pem())?;
    let told = seen(&rig, "root-expiry").await?;
    told.warns(&["is valid for 4 days more"], "hawser join BUNDLE")
}

#[tokio::test]
async fn a_root_that_was_rotated_away_is_told() -> Result<()> {
    let rig = Rig::joined().await?;
    keep_good(&rig)?;
    put(&rig, "root-cert.pem", &rig.mesh.istiod.ca().prepare()?)?;
    let seen = seen(&rig, "root-covers").await?;
    seen.warns(&["root-cert.pem: certificate does not chain", "rotated"], "hawser join BUNDLE")
}

#[tokio::test]
async fn a_token_that_anybody_can_read_is_named() -> Result<()> {
    let rig = Rig::joined().await?;
    let token = joined_file(&rig, "istio-token");
    fs::set_permissions(&token, Permissions::from_mode(0o644))?;
    let seen = seen(&rig, "secret-files").await?;
    let token = text(&token)?;
    seen.failed(&["anybody may read", token], &format!("chmod o= {token}"))
}
