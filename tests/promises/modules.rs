//! Wasm modules that istiod names are fetched, checked and kept, and Envoy is given files.

mod guarded;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    filters::{Extension, extend},
    http1,
    istiod::{Flavour, Reach},
    modules::{FakeModules, Packing, proxy},
    wait::wait_for,
    xds::XdsClient,
};
use hawser_proto::{envoy::envoy::extensions::wasm::v3::FailurePolicy, type_url::EXTENSION_CONFIG};
use hawser_wire::outline;
use http::Method;

use crate::{
    last_good::{said_by_status, switched_off},
    outages::watched::{Watched, delta},
    rig::{Rig, said},
};

const MODULE: &str = "/module.wasm";
/// What the modules add to each response.
const HEADER: &str = "x-module";

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_fetched_once_and_works_without_its_server_ever_after_in_delta() -> Result<()> {
    fetched_and_kept(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_fetched_once_and_works_without_its_server_ever_after_in_sotw() -> Result<()> {
    fetched_and_kept(Flavour::SotW).await
}

async fn fetched_and_kept(flavour: Flavour) -> Result<()> {
    let mut server = FakeModules::start().await?;
    let rig = Rig::with_envoy().await?;
    let extension = serve(&server, &proxy(HEADER, "first"))?;
    ask_for(&rig, &extension)?;

    let watched = Watched::on(rig, flavour, &[]).await?;
    works(&watched, "first").await?;
    let file = only(files(&watched.rig)?)?;
    for path in [&watched.rig.file("var/cache/hawser/wasm"), &file] {
        let (own, mode) = (path.display(), fs::metadata(path)?.permissions().mode());
        ensure!(mode & 0o004 != 0, "others cannot read {own}: {mode:o}");
    }
    ensure!(fs::read(&file)? == proxy(HEADER, "first"), "it is not what was served");
    let given = ecds(&watched.rig).await?;
    ensure!(given.contains(&*file.to_string_lossy()), "{given}");
    ensure!(!given.contains(&server.url(MODULE)), "{given}");

    // First neither istiod nor the modules are there, then istiod alone is.
    server.down().await;
    let watched = Watched::on(switched_off(watched).await?, flavour, &[]).await?;
    works(&watched, "first").await?;
    watched.rig.mesh.istiod.reach(Reach::Up).await?;
    watched.joined().await?;
    watched.hears("with-istiod").await?;
    works(&watched, "first").await?;
    ensure!(server.count(MODULE) == 1, "{:?}", server.asked());

    server.up().await?;
    let extension = serve(&server, &proxy(HEADER, "second"))?;
    watched.rig.mesh.istiod.world().change(|state| state.put(&extension.config()));
    works(&watched, "second").await?;
    ensure!(server.count(MODULE) == 2, "{:?}", server.asked());
    watched.lost_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_loses_its_cache_has_its_modules_again_with_their_server() -> Result<()> {
    let server = FakeModules::start().await?;
    let rig = Rig::with_envoy().await?;
    ask_for(&rig, &serve(&server, &proxy(HEADER, "yes"))?)?;
    let mut watched = Watched::on(rig, Flavour::Delta, &[]).await?;
    works(&watched, "yes").await?;
    watched.agent.terminate().await?;
    fs::remove_dir_all(watched.rig.file("var/cache/hawser"))?;

    let watched = Watched::on(watched.rig, Flavour::Delta, &[]).await?;

    works(&watched, "yes").await?;
    ensure!(server.count(MODULE) == 2, "{:?}", server.asked());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_module_a_filter_stops_requests_or_lets_them_pass_as_it_says_in_delta()
-> Result<()> {
    not_to_be_had(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_module_a_filter_stops_requests_or_lets_them_pass_as_it_says_in_sotw()
-> Result<()> {
    not_to_be_had(Flavour::SotW).await
}

async fn not_to_be_had(flavour: Flavour) -> Result<()> {
    let server = FakeModules::start().await?;
    let rig = Rig::with_envoy().await?;
    let wrong = Extension { sha256: "00".repeat(32), ..serve(&server, &proxy(HEADER, "bad"))? };
    ask_for(&rig, &wrong)?;

    let watched = Watched::on(rig, flavour, &[]).await?;
    answers(&watched, 403, None).await?;
    ensure!(files(&watched.rig)?.is_empty(), "what was not asked for is kept");
    let log = fs::read_to_string(watched.agent.log())?;
    let told = log.lines().find(|line| line.contains("module not to be had"));
    let told = told.context("nothing in the journal")?;
    ensure!(told.contains("is stopped") && told.contains(&"00".repeat(32)), "{told}");
    let shown = said_by_status(&watched.rig).await?;
    ensure!(shown.contains("stops all traffic, its module is not to be had"), "{shown}");

    let world = watched.rig.mesh.istiod.world();
    let open = Extension { policy: FailurePolicy::FailOpen, ..wrong };
    world.change(|state| state.put(&open.config()));
    answers(&watched, 200, None).await?;

    let good = serve(&server, &proxy(HEADER, "good"))?;
    world.change(|state| state.put(&good.config()));
    works(&watched, "good").await?;
    let shown = said_by_status(&watched.rig).await?;
    ensure!(!shown.contains("not to be had"), "{shown}");
    watched.lost_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_slow_to_come_holds_nothing_else_up_in_delta() -> Result<()> {
    slow(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_is_slow_to_come_holds_nothing_else_up_in_sotw() -> Result<()> {
    slow(Flavour::SotW).await
}

async fn slow(flavour: Flavour) -> Result<()> {
    let server = FakeModules::start().await?;
    let rig = Rig::with_envoy().await?;
    ask_for(&rig, &serve(&server, &proxy(HEADER, "first"))?)?;
    let watched = Watched::on(rig, flavour, &[]).await?;
    works(&watched, "first").await?;
    let world = watched.rig.mesh.istiod.world();

    server.faults(|faults| faults.silent = true);
    let extension = serve(&server, &proxy(HEADER, "second"))?;
    world.change(|state| state.put(&extension.config()));
    server.until("the agent to ask", |asked| asked.len() == 2).await?;
    watched.hears("meanwhile").await?;
    watched.hears("and-again").await?;
    works(&watched, "first").await?;
    // It has not been given up in the meantime.
    ensure!(server.asked().len() == 2, "{:?}", server.asked());

    server.faults(|faults| faults.silent = false);
    works(&watched, "second").await?;
    watched.lost_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_comes_out_of_an_image_in_delta() -> Result<()> {
    image(Flavour::Delta).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_comes_out_of_an_image_in_sotw() -> Result<()> {
    image(Flavour::SotW).await
}

/// Of each kind, and in the end without the registry.
async fn image(flavour: Flavour) -> Result<()> {
    let mut server = FakeModules::start().await?;
    let rig = Rig::joined().await?;
    let module = proxy(HEADER, "boxed");
    let kinds = [Packing::Docker, Packing::Oci, Packing::Artifact, Packing::Index];
    let mut all = Vec::new();
    for (number, packing) in kinds.into_iter().enumerate() {
        let name = format!("all/modules{number}");
        server.push(&name, "v1", packing, &module);
        let uri = server.image(&format!("{name}:v1"));
        all.push(Extension::new(&format!("vms.image{number}"), &uri));
    }
    rig.mesh.istiod.world().change(|state| all.iter().for_each(|one| state.put(&one.config())));
    let insecure = format!("wasm.insecure_registries={}", server.host());
    let flags = ["--set", delta(flavour), "--set", &insecure];
    let mut agent = rig.vm.start_with(&flags, &[]).await?;

    let given = given(&rig, flavour, &all).await.with_context(|| agent.tail())?;

    let kept = files(&rig)?;
    ensure!(kept.len() == all.len(), "{kept:?}");
    for file in &kept {
        ensure!(fs::read(file)? == module, "{} is not the module", file.display());
        let path = file.to_string_lossy();
        ensure!(given.iter().filter(|one| one.contains(&*path)).count() == 1, "{given:?}");
    }

    server.down().await;
    agent.terminate().await?;
    let agent = rig.vm.start_with(&flags, &[]).await?;
    let again = self::given(&rig, flavour, &all).await.with_context(|| agent.tail())?;
    ensure!(again == given, "{again:?}");
    Ok(())
}

/// The module at its address, and the wish for it.
fn serve(server: &FakeModules, module: &[u8]) -> Result<Extension> {
    server.serve(MODULE, module.to_vec());
    let sha256 = sha256(module)?;
    Ok(Extension { sha256, ..Extension::new("vms.module", &server.url(MODULE)) })
}

fn sha256(module: &[u8]) -> Result<String> {
    let mut file = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut file, module)?;
    let output = Command::new("sha256sum").arg(file.path()).output().context("run sha256sum")?;
    let printed = said(&output);
    Ok(printed.split_whitespace().next().context("no sum")?.to_owned())
}

/// From now on every listener is to have the filter.
fn ask_for(rig: &Rig, extension: &Extension) -> Result<()> {
    let mut done = Ok(());
    rig.mesh.istiod.world().change(|state| done = extend(state, extension));
    done
}

/// Waits until requests pass through a module that says this.
async fn works(watched: &Watched, value: &str) -> Result<()> {
    answers(watched, 200, Some(value)).await
}

async fn answers(watched: &Watched, status: u16, value: Option<&str>) -> Result<()> {
    wait_for("requests to be answered so", async || {
        let reply = watched.rig.request().await?;
        ensure!(reply.status == status, "{} {}", reply.status, reply.body);
        let found = reply.headers.get(HEADER).map(String::as_str);
        ensure!(found == value, "{found:?} instead of {value:?}");
        Ok(())
    })
    .await
    .with_context(|| watched.agent.tail())
}

/// What Envoy has of extensions.
async fn ecds(rig: &Rig) -> Result<String> {
    let admin = rig.vm.status().await?.envoy.admin;
    let path = "/config_dump?resource=ecds_filters";
    Ok(http1::call(admin, &Method::GET, path, &[]).await?.body)
}

/// What a client is given for them, readable, in their order.
async fn given(rig: &Rig, flavour: Flavour, all: &[Extension]) -> Result<Vec<String>> {
    let client = XdsClient::envoy(&rig.file("run/hawser/xds.sock"), flavour).await?;
    let names: Vec<_> = all.iter().map(Extension::resource).collect();
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    client.subscribe(EXTENSION_CONFIG, &wanted)?;
    let all_here =
        |held: &hawser_harness::xds::Held| held.names(EXTENSION_CONFIG).len() == wanted.len();
    let held = client.until("the extensions", all_here).await?;
    let kept = held.types.get(EXTENSION_CONFIG).context("nothing")?;
    let text = |name: &String| {
        let (_, value) = kept.resources.get(name).with_context(|| format!("no {name}"))?;
        Ok(outline(value).join("\n"))
    };
    names.iter().map(text).collect()
}

/// The modules that are kept.
fn files(rig: &Rig) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in fs::read_dir(rig.file("var/cache/hawser/wasm"))? {
        let directory = directory?.path();
        if directory.is_dir() {
            for file in fs::read_dir(directory)? {
                found.push(file?.path());
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "wasm"));
    Ok(found)
}

fn only(mut files: Vec<PathBuf>) -> Result<PathBuf> {
    ensure!(files.len() == 1, "{files:?}");
    files.pop().context("none")
}
