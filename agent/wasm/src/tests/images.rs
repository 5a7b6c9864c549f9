//! Modules in images.

use hawser_harness::modules::{Packing, TINY};

use super::*;
use crate::checksum::Checksum;

const ALL: [Packing; 4] = [Packing::Docker, Packing::Oci, Packing::Artifact, Packing::Index];

/// A pull secret for the server.
fn secret(world: &World, entry: &str) -> String {
    format!(r#"{{"auths":{{"http://{}/v2":{entry}}}}}"#, world.server.host())
}

#[tokio::test]
async fn modules_come_out_of_images_of_every_shape() {
    let mut world = World::new().await;
    for packing in ALL {
        let name = format!("{packing:?}").to_lowercase();
        let digest = world.server.push(&format!("f/{name}"), "v1", packing, TINY);
        for image in [format!("f/{name}:v1"), format!("f/{name}@{digest}")] {
            let module = local(&world.modules(), &Filter::new(world.server.image(&image))).await;
            assert_eq!(module.as_deref(), Ok(TINY), "{image}");
        }
    }
    // By digest nothing is asked once it is kept, by tag neither if it is not `latest`.
    let before = world.server.asked().len();
    let digest = world.server.push("f/oci", "v2", Packing::Oci, TINY);
    world.server.down().await;
    for image in [format!("f/oci@{digest}"), "f/oci:v1".to_owned()] {
        let module = local(&world.modules(), &Filter::new(world.server.image(&image))).await;
        assert_eq!(module.as_deref(), Ok(TINY));
    }
    assert_eq!(world.server.asked().len(), before);
}

#[tokio::test]
async fn a_tag_that_moved_costs_a_manifest_and_only_a_new_module_a_layer() {
    let world = World::new().await;
    let modules = world.modules();
    let newer = [TINY, b"\0\0"].concat();
    let image = world.server.image("f:latest");
    let blobs = || {
        let asked = world.server.asked();
        asked.iter().filter(|asked| asked.target.contains("/blobs/")).count()
    };
    let version = |version: &str| {
        let name = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION";
        Filter::new(&image).told(name, version)
    };
    world.server.push("f", "latest", Packing::Docker, TINY);
    assert_eq!(local(&modules, &version("1")).await.as_deref(), Ok(TINY));
    assert_eq!(local(&modules, &version("2")).await.as_deref(), Ok(TINY));
    assert_eq!((blobs(), world.server.count("/v2/f/manifests/latest")), (1, 2));

    world.server.push("f", "latest", Packing::Docker, &newer);
    assert_eq!(local(&modules, &version("2")).await.as_deref(), Ok(TINY));
    assert_eq!(local(&modules, &version("3")).await.as_deref(), Ok(&*newer));
    assert_eq!((blobs(), world.server.count("/v2/f/manifests/latest")), (2, 3));
}

#[tokio::test]
async fn a_checksum_of_the_filter_is_that_of_the_manifest() {
    let world = World::new().await;
    let digest = world.server.push("f", "v1", Packing::Oci, TINY);
    let mut filter = Filter::new(world.server.image("f:v1"));

    filter.sha256 = Checksum::of(TINY).to_string();
    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    filter.sha256 = digest.strip_prefix("sha256:").unwrap().to_owned();
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
}

#[tokio::test]
async fn what_a_registry_gives_is_what_was_asked_for_by_digest() {
    let world = World::new().await;
    world.server.push("f", "v1", Packing::Artifact, &[TINY, &[0; 99]].concat());
    world.server.faults(|faults| faults.lying = true);
    let ask =
        async |image: &str| local(&world.modules(), &Filter::new(world.server.image(image))).await;

    assert_eq!(ask("f:v1").await, Err("deny"));
    let other = Checksum::of(b"other");
    let manifest = r#"{"layers":[]}"#;
    let tag = format!("sha256:{other}");
    world.server.push_manifest("f", &tag, "application/json", manifest);
    assert_eq!(ask(&format!("f@{tag}")).await, Err("deny"));
    assert_eq!(ask("f:empty").await, Err("deny"));
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn a_password_goes_in_clear_text_only_where_it_may() {
    let mut world = World::new().await;
    world.server.push("f", "v1", Packing::Oci, TINY);
    world.server.demand("me", "pw");
    let filter = Filter::new(world.server.image("f:v1"));
    let shown = secret(&world, r#"{"username":"me","password":"pw"}"#);

    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    assert_eq!(local(&world.modules(), &filter.clone().secret(&shown)).await, Err("deny"));
    let asked = world.server.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");

    world.options.insecure = vec!["*".to_owned()];
    for basic in [true, false] {
        world.options.directory = world.directory.path().join(format!("basic-{basic}"));
        world.server.faults(|faults| faults.basic = basic);
        let filter = filter.clone().secret(&shown);
        assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY), "{basic}");
    }
    let asked = world.server.asked();
    let token = asked.iter().rfind(|asked| asked.target.starts_with("/token?")).unwrap();
    assert_eq!(token.target, "/token?service=modules&scope=repository%3Af%3Apull");
    assert_eq!(token.authorization.as_deref(), Some("Basic bWU6cHc="));
}

#[tokio::test]
async fn passwords_come_from_the_secret_else_from_the_file_of_the_machine() {
    let mut world = World::new().await;
    world.server.push("f", "v1", Packing::Oci, TINY);
    world.server.demand("me", "pw");
    world.options.insecure = vec![world.server.host().to_owned()];
    let file = world.directory.path().join("config.json");
    let good = secret(&world, r#"{"auth":"bWU6cHc="}"#);
    hawser_state::write_file(&file, 0o600, good.as_bytes()).unwrap();
    world.options.keychain = Some(file);
    let filter = Filter::new(world.server.image("f:v1"));
    let wrong = secret(&world, r#"{"username":"me","password":"wrong"}"#);

    for bad in ["", "null", "{}", wrong.as_str()] {
        let module = local(&world.modules(), &filter.clone().secret(bad)).await;
        assert_eq!(module, Err("deny"), "{bad}");
    }
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
    world.options.directory = world.directory.path().join("other");
    let refresh = secret(&world, r#"{"identitytoken":"fresh"}"#);
    let filter = filter.secret(&refresh);
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
    let asked = world.server.asked();
    let posted = asked.iter().rfind(|asked| asked.method == "POST").unwrap();
    assert!(posted.body.contains("scope=repository%3Af%3Apull"), "{posted:?}");
}

#[tokio::test]
async fn a_registry_cannot_send_us_for_tokens_where_it_likes() {
    let (mut world, elsewhere) = (World::new().await, World::new().await);
    world.server.push("f", "v1", Packing::Oci, TINY);
    world.server.demand("me", "pw");
    world.options.insecure = vec!["*".to_owned()];
    let shown = secret(&world, r#"{"username":"me","password":"pw"}"#);
    let filter = Filter::new(world.server.image("f:v1")).secret(&shown);
    for realm in [elsewhere.server.url("/token"), "http://169.254.169.254/token".to_owned()] {
        world.server.faults(|faults| faults.realm = Some(realm.clone()));

        assert_eq!(local(&world.modules(), &filter).await, Err("deny"), "{realm}");
    }
    assert_eq!(elsewhere.server.asked().len(), 0);
}

#[tokio::test]
async fn a_registry_with_tls_is_asked_with_tls_only() {
    let (mut world, ca) = World::with_tls().await;
    world.server.push("f", "v1", Packing::Docker, TINY);
    world.server.demand("me", "pw");
    let shown = secret(&world, r#"{"username":"me","password":"pw"}"#);
    let filter = Filter::new(world.server.image("f:v1")).secret(&shown);
    world.options.attempts = 1;

    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    assert_eq!(world.server.asked().len(), 0);
    let root = world.directory.path().join("root.pem");
    hawser_state::write_file(&root, 0o600, ca.root_pem().as_bytes()).unwrap();
    world.options.roots = vec![root];
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
}
