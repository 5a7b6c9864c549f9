//! Modules at HTTP addresses.

use hawser_harness::modules::{TINY, gzip, tar};

use super::*;
use crate::checksum::Checksum;

#[tokio::test]
async fn a_module_is_fetched_once_kept_and_served_when_the_server_is_away() {
    let mut world = World::new().await;
    world.server.serve("/a.wasm", TINY);
    let filter = Filter::new(world.server.url("/a.wasm?token=1"));

    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
    world.server.down().await;
    let restarted = world.modules();
    assert_eq!(local(&restarted, &filter).await.as_deref(), Ok(TINY));
    assert_eq!(local(&restarted, &filter.named("other")).await.as_deref(), Ok(TINY));

    assert_eq!(world.server.count("/a.wasm"), 1);
    assert_eq!(world.files(), 2);
}

#[tokio::test]
async fn boxes_are_opened_and_the_checksum_is_that_of_the_module() {
    let world = World::new().await;
    let modules = world.modules();
    world.server.serve("/a.tgz", gzip(&tar(&[("a.wasm", TINY)])));
    let mut filter = Filter::new(world.server.url("/a.tgz"));

    filter.sha256 = Checksum::of(TINY).to_string().to_uppercase();
    assert_eq!(local(&modules, &filter).await.as_deref(), Ok(TINY));
    for wrong in [Checksum::of(b"other").to_string(), "abc".to_owned()] {
        filter.sha256 = wrong;
        assert_eq!(local(&modules, &filter).await, Err("deny"));
    }

    assert_eq!(world.files(), 2);
}

#[tokio::test]
async fn many_filters_that_want_one_module_fetch_it_once() {
    let world = World::new().await;
    world.server.serve("/a.wasm", TINY);
    world.server.faults(|faults| faults.silent = true);
    let modules = world.modules();
    let mut all = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (modules, filter) = (modules.clone(), Filter::new(world.server.url("/a.wasm")));
        let filter = filter.named(&number.to_string()).always(&number.to_string());
        all.spawn(async move { local(&modules, &filter).await });
    }
    world.server.until("a request", |asked| !asked.is_empty()).await.unwrap();
    world.server.faults(|faults| faults.silent = false);

    let all = all.join_all().await;

    assert!(all.iter().all(|module| module.as_deref() == Ok(TINY)));
    assert_eq!(world.server.asked().len(), 1);
}

#[tokio::test]
async fn a_slow_server_delays_its_own_module_only() {
    let (slow, world) = (World::new().await, World::new().await);
    slow.server.serve("/slow.wasm", TINY);
    slow.server.faults(|faults| faults.silent = true);
    world.server.serve("/a.wasm", TINY);
    let modules = world.modules();
    let filter = Filter::new(slow.server.url("/slow.wasm"));
    let mut waiting = tokio::task::JoinSet::new();
    let clone = modules.clone();
    waiting.spawn(async move { local(&clone, &filter).await });
    slow.server.until("a request", |asked| !asked.is_empty()).await.unwrap();

    let module = local(&modules, &Filter::new(world.server.url("/a.wasm"))).await;

    assert_eq!(module.as_deref(), Ok(TINY));
    assert!(waiting.try_join_next().is_none());
    slow.server.faults(|faults| faults.silent = false);
    assert_eq!(waiting.join_next().await.unwrap().unwrap().as_deref(), Ok(TINY));
}

#[tokio::test]
async fn another_version_of_the_resource_fetches_anew_if_the_policy_says_so() {
    let mut world = World::new().await;
    let newer = [TINY, b"\0\0"].concat();
    let url = world.server.url("/a.wasm");
    world.server.serve("/a.wasm", TINY);
    let modules = world.modules();
    assert_eq!(local(&modules, &Filter::new(&url).always("1")).await.as_deref(), Ok(TINY));
    world.server.serve("/a.wasm", newer.clone());

    assert_eq!(local(&modules, &Filter::new(&url).always("1")).await.as_deref(), Ok(TINY));
    assert_eq!(local(&modules, &Filter::new(&url)).await.as_deref(), Ok(TINY));
    assert_eq!(local(&modules, &Filter::new(&url).always("2")).await.as_deref(), Ok(&*newer));
    assert_eq!(world.server.count("/a.wasm"), 2);

    // Away, the one before is used, and the new one is asked for again later, or if it is another.
    world.server.down().await;
    assert_eq!(local(&modules, &Filter::new(&url).always("3")).await.as_deref(), Ok(&*newer));
    world.server.up().await.unwrap();
    world.server.serve("/a.wasm", TINY);
    assert_eq!(local(&modules, &Filter::new(&url).always("3")).await.as_deref(), Ok(&*newer));
    assert_eq!(local(&modules, &Filter::new(&url).always("4")).await.as_deref(), Ok(TINY));
}

#[tokio::test]
async fn https_is_believed_by_the_roots_or_not_at_all() {
    let (mut world, ca) = World::with_tls().await;
    world.server.serve("/a.wasm", TINY);
    let filter = Filter::new(world.server.url("/a.wasm"));
    world.options.attempts = 1;

    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    world.options.insecure = vec!["other".to_owned()];
    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    assert_eq!(world.server.asked().len(), 0);

    world.options.insecure.push(world.server.host().to_owned());
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
    let root = world.directory.path().join("root.pem");
    hawser_state::write_file(&root, 0o600, ca.root_pem().as_bytes()).unwrap();
    world.options.insecure.clear();
    world.options.roots = vec![root];
    world.options.directory = world.directory.path().join("elsewhere");
    assert_eq!(local(&world.modules(), &filter).await.as_deref(), Ok(TINY));
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever_nor_out_of_tls() {
    let (mut world, ca) = World::with_tls().await;
    let plain = World::new().await;
    plain.server.serve("/a.wasm", TINY);
    world.server.serve("/a.wasm", TINY);
    world.server.redirect("/b", "/a.wasm");
    world.server.redirect("/ring", "/ring");
    world.server.redirect("/out", &plain.server.url("/a.wasm"));
    plain.server.redirect("/in", &world.server.url("/a.wasm"));
    let root = world.directory.path().join("root.pem");
    hawser_state::write_file(&root, 0o600, ca.root_pem().as_bytes()).unwrap();
    world.options.roots = vec![root];
    let modules = world.modules();
    let ask = async |url: String| local(&modules, &Filter::new(url)).await;

    assert_eq!(ask(world.server.url("/b")).await.as_deref(), Ok(TINY));
    assert_eq!(ask(plain.server.url("/in")).await.as_deref(), Ok(TINY));
    assert_eq!(ask(world.server.url("/ring")).await, Err("deny"));
    assert_eq!(ask(world.server.url("/out")).await, Err("deny"));
    assert!(world.server.count("/ring") < 10);
    assert_eq!(plain.server.count("/a.wasm"), 0);
}

#[tokio::test]
async fn guarded_addresses_are_not_dialled_by_name_number_or_redirect() {
    let mut world = World::new().await;
    let open = World::new().await;
    world.server.serve("/a.wasm", TINY);
    let port = world.server.addr().port();
    world.options.blocked = vec!["127.0.0.1/32".parse().unwrap()];
    world.options.attempts = 1;
    let modules = world.modules();
    let addresses = [
        world.server.url("/a.wasm"),
        format!("http://localhost:{port}/a.wasm"),
        format!("http://[::ffff:127.0.0.1]:{port}/a.wasm"),
        format!("http://2130706433:{port}/a.wasm"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ];
    for address in addresses {
        assert_eq!(local(&modules, &Filter::new(&address)).await, Err("deny"), "{address}");
    }
    assert_eq!(world.server.asked().len(), 0);

    // The one that redirects may be dialled, where it leads may not.
    world.options.blocked = vec!["169.254.0.0/16".parse().unwrap()];
    open.server.redirect("/b", "http://169.254.169.254/latest/meta-data");
    let filter = Filter::new(open.server.url("/b"));
    assert_eq!(local(&world.modules(), &filter).await, Err("deny"));
    assert_eq!(open.server.count("/b"), 1);
}

#[tokio::test]
async fn what_was_done_is_counted_and_what_is_no_wasm_is_left_alone() {
    let world = World::new().await;
    let modules = world.modules();
    world.server.serve("/a.wasm", TINY);
    let good = Filter::new(world.server.url("/a.wasm"));
    for filter in [&good, &good, &Filter::new(world.server.url("/missing"))] {
        drop(local(&modules, filter).await);
    }
    let other = TypedExtensionConfig { typed_config: Some(Any::default()), ..Default::default() };

    assert_eq!(modules.local(&other.encode_to_vec()).await.unwrap(), None);
    let refused = modules.local(&TypedExtensionConfig::default().encode_to_vec()).await;
    assert!(refused.unwrap_err().to_string().contains("no typed_config"));

    let text = world.options.metrics.render();
    for line in [
        "istio_agent_wasm_cache_entries 1",
        "istio_agent_wasm_cache_lookup_count{hit=\"true\"} 1",
        "istio_agent_wasm_cache_lookup_count{hit=\"false\"} 2",
        "istio_agent_wasm_remote_fetch_count{result=\"success\"} 1",
        "istio_agent_wasm_remote_fetch_count{result=\"download_failure\"} 1",
        "istio_agent_wasm_config_conversion_count{result=\"success\"} 2",
        "istio_agent_wasm_config_conversion_count{result=\"fetch_failure\"} 1",
        "istio_agent_wasm_config_conversion_count{result=\"no_remote_load\"} 1",
        "istio_agent_wasm_config_conversion_count{result=\"unmarshal_failure\"} 1",
        "hawser_wasm_kept_bytes 8",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
