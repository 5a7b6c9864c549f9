//! A bundle from the web: over TLS, the first address that gives one, within limits.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use hawser_harness::{
    ca::{Shape, TestCa},
    modules::{FakeModules, gzip},
};

use super::tree;
use crate::rig::{Rig, said, text};

/// A machine, a server beside it, and the root of that server.
async fn rig() -> Result<(Rig, FakeModules, PathBuf)> {
    let rig = Rig::new().await?;
    let ca = TestCa::new(Shape::SelfSigned)?;
    let server = FakeModules::with_tls(&ca).await?;
    let root = rig.file("srv/root.pem");
    rig.vm.provision_roots("srv", &ca.root_pem())?;
    std::fs::rename(rig.file("srv/root-cert.pem"), &root)?;
    Ok((rig, server, root))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_address_that_gives_a_bundle_joins() -> Result<()> {
    let (rig, server, root) = rig().await?;
    server.serve("/login", b"<html>who are you?</html>".as_slice());
    server.serve("/bundle.tgz", gzip(&rig.mesh.bundle.tar()?));
    server.redirect("/here", &server.url("/bundle.tgz?sig=hush"));
    let (gone, login, here) = (server.url("/gone"), server.url("/login"), server.url("/here"));

    let join = ["join", &gone, &login, &here, "--ca", text(&root)?];
    let output = rig.vm.hawser(&join).await?;

    let told = said(&output);
    ensure!(output.status.success(), "{told}");
    ensure!(told.contains(&format!("note: {gone}: answered 404")), "{told}");
    ensure!(told.contains(&format!("note: {login}: cannot be read as a bundle")), "{told}");
    assert_eq!(tree(&rig.file("etc/hawser/mesh"))?, tree(&rig.mesh.bundle_dir)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_gives_none_is_told_with_its_remedy_and_changes_nothing() -> Result<()> {
    let (rig, server, root) = rig().await?;
    server.serve("/endless", vec![b'm'; 1 << 20]);
    server.serve("/cut", rig.mesh.bundle.tar()?);
    server.redirect("/round", &server.url("/round"));
    server.redirect("/clear", "http://127.0.0.1:1/bundle.tar");
    let root = text(&root)?;
    let before = tree(rig.vm.root())?;
    let refused = async |path: &str, arguments: &[&str], expected: &str| -> Result<()> {
        let url = server.url(path);
        let arguments: Vec<&str> = ["join", &url].iter().chain(arguments).copied().collect();
        let output = rig.vm.hawser(&arguments).await?;
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        ensure!(told.lines().count() == 2, "{told}");
        let plain = url.split('?').next().unwrap_or_default();
        ensure!(told.contains(plain) && told.contains(expected), "{expected}: {told}");
        ensure!(told.ends_with("hawser: nothing was changed\n"), "{told}");
        ensure!(!told.contains("hush"), "{told}");
        assert_eq!(tree(rig.vm.root())?, before);
        Ok(())
    };

    refused("/cut?sig=hush", &[], "--ca FILE says another").await?;
    refused("/none", &["--ca", root], "answered 404").await?;
    refused("/round", &["--ca", root], "leads on too often").await?;
    refused("/clear", &["--ca", root], "https alone").await?;
    server.faults(|faults| faults.cut = true);
    refused("/cut", &["--ca", root], "broken off").await?;
    server.faults(|faults| (faults.cut, faults.endless) = (false, true));
    refused("/endless", &["--ca", root], "larger than 16 MiB").await?;
    refused("/none", &["--ca", "/nowhere.pem"], "cannot read /nowhere.pem").await?;

    let output = rig.vm.hawser(&["join", "http://127.0.0.1:1/bundle.tar"]).await?;
    assert_eq!(output.status.code(), Some(64));
    ensure!(said(&output).contains("over https alone"), "{}", said(&output));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_how_far_behind_the_clock_is() -> Result<()> {
    let (mut rig, server, root) = rig().await?;
    server.serve("/bundle.tar", rig.mesh.bundle.tar()?);
    let clock = hawser_harness::faketime::Faketime::ahead(-3 * 3600)?;
    rig.vm.env = clock.env();

    let url = server.url("/bundle.tar");
    let output = rig.vm.hawser(&["join", &url, "--ca", text(&root)?]).await?;

    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    ensure!(told.contains("this machine's clock"), "{told}");
    ensure!(told.contains("behind"), "{told}");
    Ok(())
}
