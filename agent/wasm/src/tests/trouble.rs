//! Servers that fail, lie and flood.

use hawser_harness::modules::{Faults, TINY, gzip};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn a_filter_whose_module_cannot_be_had_is_replaced_as_it_wishes() {
    let world = World::new().await;
    let modules = world.modules();
    world.server.serve("/text", "no module");
    let cases = [
        world.server.url("/missing"),
        world.server.url("/text"),
        "http://127.0.0.1:1/a.wasm".to_owned(),
        "http://name.invalid/a.wasm".to_owned(),
        "ftp://127.0.0.1/a.wasm".to_owned(),
        String::new(),
    ];
    for url in cases {
        let mut filter = Filter::new(&url);
        assert_eq!(local(&modules, &filter).await, Err("deny"), "{url}");
        filter.policy = FailurePolicy::FailOpen;
        assert_eq!(local(&modules, &filter).await, Err("allow"), "{url}");
    }
    // What is not there is not asked for again and again, not even by another filter.
    assert_eq!(world.server.count("/missing"), 1);
    let shown = modules.replaced().borrow()["te"].clone();
    assert!(!shown.stops && shown.reason.contains("no URL"), "{shown:?}");
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (statuses, asked, had) in [
        (vec![503, 500], 3, true),
        (vec![503, 503, 503], 3, false),
        (vec![429], 2, true),
        (vec![501], 1, false),
        (vec![404], 1, false),
    ] {
        let world = World::new().await;
        world.server.serve("/a.wasm", TINY);
        world.server.faults(|faults| faults.statuses = statuses.clone().into());

        let module = local(&world.modules(), &Filter::new(world.server.url("/a.wasm"))).await;

        assert_eq!((module.is_ok(), world.server.asked().len()), (had, asked), "{statuses:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_rejected_whole_however_it_comes() {
    let mut world = World::new().await;
    let module = [TINY, &[0; 92]].concat();
    world.server.serve("/a.wasm", module.clone());
    world.server.serve("/a.gz", gzip(&module));
    world.options.largest = 99;
    let modules = world.modules();
    for path in ["/a.wasm", "/a.gz"] {
        assert_eq!(local(&modules, &Filter::new(world.server.url(path))).await, Err("deny"));
    }
    world.server.faults(|faults| faults.endless = true);
    assert_eq!(local(&modules, &Filter::new(world.server.url("/a.wasm"))).await, Err("deny"));
    world.server.faults(|faults| *faults = Faults::default());
    assert_eq!(world.files(), 0);

    world.options.largest = 100;
    let module_ = local(&world.modules(), &Filter::new(world.server.url("/a.wasm"))).await;
    assert_eq!(module_, Ok(module));
}

#[tokio::test]
async fn what_is_cut_off_is_asked_for_again_and_never_kept() {
    let world = World::new().await;
    world.server.serve("/a.wasm", [TINY, &[0; 1000]].concat());
    world.server.faults(|faults| faults.cut = true);

    let module = local(&world.modules(), &Filter::new(world.server.url("/a.wasm"))).await;

    assert_eq!((module, world.files()), (Err("deny"), 0));
    assert_eq!(world.server.count("/a.wasm"), 3);
}

#[tokio::test]
async fn a_silent_server_costs_the_time_of_the_request_and_nothing_is_left_of_it() {
    let mut world = World::new().await;
    world.server.faults(|faults| faults.silent = true);
    world.options.http_timeout = Duration::from_millis(50);
    world.options.attempts = 2;

    let module = local(&world.modules(), &Filter::new(world.server.url("/a.wasm"))).await;

    assert_eq!((module, world.files()), (Err("deny"), 0));
    assert_eq!(world.server.asked().len(), 2);
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_nothing_and_keeps_nobody_from_it() {
    let world = World::new().await;
    world.server.serve("/a.wasm", TINY);
    world.server.faults(|faults| faults.silent = true);
    let (modules, filter) = (world.modules(), Filter::new(world.server.url("/a.wasm")));
    let bytes = filter.bytes();
    {
        let given_up = modules.local(&bytes);
        tokio::pin!(given_up);
        let asked = world.server.until("a request", |asked| !asked.is_empty());
        tokio::select! {
            asked = asked => drop(asked.unwrap()),
            _ = &mut given_up => panic!("answered in silence"),
        }
    }
    world.server.faults(|faults| faults.silent = false);

    assert_eq!(local(&modules, &filter).await.as_deref(), Ok(TINY));
    assert_eq!(world.files(), 2);
}

#[tokio::test]
async fn a_damaged_module_is_fetched_again() {
    let world = World::new().await;
    world.server.serve("/a.wasm", TINY);
    let (modules, filter) = (world.modules(), Filter::new(world.server.url("/a.wasm")));
    let after = modules.local(&filter.bytes()).await.unwrap().unwrap();
    let (_, file) = file_of(&after).unwrap();
    for modules in [modules, world.modules()] {
        hawser_state::write_file(file.as_ref(), 0o644, b"\0asmevil").unwrap();

        assert_eq!(local(&modules, &filter).await.as_deref(), Ok(TINY));
    }
    assert_eq!(world.server.count("/a.wasm"), 3);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_the_filter_only() {
    let mut world = World::new().await;
    world.server.serve("/a.wasm", TINY);
    world.options.directory = world.directory.path().join("no/such");

    let module = local(&world.modules(), &Filter::new(world.server.url("/a.wasm"))).await;

    assert_eq!(module, Err("deny"));
}

#[tokio::test(start_paused = true)]
async fn what_envoy_has_is_not_purged_and_what_it_gave_up_is() {
    let mut world = World::new().await;
    let start = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let (clock, hand) = hawser_rt::Clock::manual(start);
    world.options.clock = clock;
    world.server.serve("/a.wasm", TINY);
    let filter = Filter::new(world.server.url("/a.wasm"));
    let after = world.modules().local(&filter.bytes()).await.unwrap().unwrap();
    let restarted = world.modules();
    restarted.in_use(&after);
    hand.advance(10 * world.options.expiry);
    let hours = world.options.purge_every * 3;
    let purged = async |modules: &Modules| {
        drop(timeout(hours, modules.purge(CancellationToken::new())).await);
    };

    purged(&restarted).await;
    assert_eq!(world.files(), 2);

    restarted.only(&[]);
    purged(&restarted).await;
    assert_eq!(world.files(), 0);
    let stop = CancellationToken::new();
    stop.cancel();
    restarted.purge(stop).await;
}
