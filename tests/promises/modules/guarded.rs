//! What fetching must not do: ask what only the machine itself may ask, or tell what it was told in
//! confidence.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    filters::Extension,
    istiod::Flavour,
    modules::{FakeModules, Packing, proxy},
    wait::wait_for,
};

use super::{HEADER, files, given, only, serve};
use crate::rig::Rig;

/// `me:pw`, as HTTP has it.
const PASSWORD: &str = "bWU6cHc=";

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_a_registry_goes_neither_to_envoy_nor_to_the_disk() -> Result<()> {
    let server = FakeModules::start().await?;
    server.push("all/secret", "v1", Packing::Oci, &proxy(HEADER, "secret"));
    server.demand("me", "pw");
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"{PASSWORD}"}}}}}}"#, server.host());
    let env = vec![("ISTIO_META_WASM_IMAGE_PULL_SECRET".to_owned(), auths)];
    let uri = server.image("all/secret:v1");
    let extension = [Extension { env, ..Extension::new("vms.secret", &uri) }];
    let rig = Rig::joined().await?;
    rig.mesh.istiod.world().change(|state| state.put(&extension[0].config()));
    let insecure = format!("wasm.insecure_registries={}", server.host());

    let mut agent = rig.vm.start_with(&["--set", &insecure], &[]).await?;
    let fetched = given(&rig, Flavour::Delta, &extension).await.with_context(|| agent.tail())?;
    agent.terminate().await?;
    let file = only(files(&rig)?)?;
    ensure!(fetched[0].contains(&*file.to_string_lossy()), "{fetched:?}\n{}", agent.tail());
    ensure!(!fetched[0].contains(PASSWORD), "{fetched:?}");
    nowhere(&rig.file("var"))?;

    // Where Envoy is to fetch it, Envoy is told.
    let mut agent = rig.vm.start_with(&["--set", "wasm.fetch=false"], &[]).await?;
    let untouched = given(&rig, Flavour::SotW, &extension).await?;
    agent.terminate().await?;
    ensure!(untouched[0].contains(PASSWORD), "{untouched:?}");
    ensure!(!fs::read_to_string(agent.log())?.contains(PASSWORD), "it is in the journal");
    Ok(())
}

/// No file there holds the password.
fn nowhere(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            nowhere(&path)?;
        } else if path.is_file() {
            let content = fs::read(&path)?;
            let found = content.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes());
            ensure!(!found, "the password is in {}", path.display());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gives_out_the_machines_own_credentials_is_never_asked_for_modules() -> Result<()> {
    let server = FakeModules::start().await?;
    let rig = Rig::joined().await?;
    let metadata = "http://169.254.169.254/latest/meta-data";
    server.redirect("/elsewhere", metadata);
    let uris = [
        metadata.to_owned(),
        "http://[::ffff:169.254.169.254]/latest".to_owned(),
        "http://[fd00:ec2::254]/latest".to_owned(),
        "http://[fe80::1]/module".to_owned(),
        "oci://169.254.169.254/modules:v1".to_owned(),
        server.url("/elsewhere"),
    ];
    let numbered = uris.iter().enumerate();
    let all: Vec<_> =
        numbered.map(|(number, uri)| Extension::new(&format!("vms.bad{number}"), uri)).collect();
    rig.mesh.istiod.world().change(|state| all.iter().for_each(|one| state.put(&one.config())));
    let agent = rig.vm.start().await?;

    let given = given(&rig, Flavour::Delta, &all).await.with_context(|| agent.tail())?;

    ensure!(given.iter().all(|one| is_replaced(one)), "{given:?}");
    ensure!(files(&rig)?.is_empty(), "something is kept");
    ensure!(server.count("/elsewhere") == 1, "{:?}", server.asked());
    let log = fs::read_to_string(agent.log())?;
    ensure!(log.contains("is not dialled"), "{}", agent.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_the_operator_has_blocked_is_not_asked_either() -> Result<()> {
    let server = FakeModules::start().await?;
    let rig = Rig::joined().await?;
    let extension = serve(&server, &proxy(HEADER, "blocked"))?;
    rig.mesh.istiod.world().change(|state| state.put(&extension.config()));
    let flags = ["--set", "wasm.blocked=127.0.0.0/8"];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;

    let blocked = given(&rig, Flavour::Delta, std::slice::from_ref(&extension)).await?;
    ensure!(blocked.iter().all(|one| is_replaced(one)), "{blocked:?}");
    ensure!(server.asked().is_empty(), "{:?}", server.asked());

    // Without the rule it is had.
    agent.terminate().await?;
    let _agent = rig.vm.start().await?;
    // A slow start gives what was kept at first.
    wait_for("the module", async || {
        let had = given(&rig, Flavour::Delta, std::slice::from_ref(&extension)).await?;
        let file = only(files(&rig)?)?;
        ensure!(had.iter().all(|one| one.contains(&*file.to_string_lossy())), "{had:?}");
        Ok(())
    })
    .await
}

/// Whether it is a filter that needs no module.
fn is_replaced(given: &str) -> bool {
    given.contains("rbac.v3.RBAC") && !given.contains("wasm.v3.Wasm")
}
