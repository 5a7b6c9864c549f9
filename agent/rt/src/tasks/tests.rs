//! What becomes of the others when one ends.

use std::{
    future::{pending, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::{Instant, sleep};

use super::*;

const GRACE: Duration = Duration::from_secs(5);

/// Remembers that it was dropped.
struct Witness(Arc<AtomicBool>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn obedient(stop: CancellationToken) -> io::Result<()> {
    stop.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_request_to_stop_is_a_clean_end() {
    let mut tasks = Tasks::default();
    tasks.spawn("dns", obedient);
    tasks.spawn("xds", obedient);

    let stopped = tasks.run(ready(()), GRACE).await;

    assert!(matches!(stopped, Stopped::Clean));
    assert_eq!(stopped.to_string(), "stopped");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_takes_the_others_along() {
    let told = Arc::new(AtomicBool::new(false));
    let mut tasks = Tasks::default();
    let seen = Arc::clone(&told);
    tasks.spawn("dns", |stop| async move {
        stop.cancelled().await;
        seen.store(true, Ordering::Relaxed);
        io::Result::Ok(())
    });
    tasks.spawn("xds", |_| async { Err(io::Error::other("no route to istiod")) });

    let stopped = tasks.run(pending(), GRACE).await;

    assert_eq!(stopped.to_string(), "xds failed: no route to istiod");
    assert!(told.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_just_returns_has_died_too() {
    let mut tasks = Tasks::default();
    tasks.spawn("sds", obedient);
    tasks.spawn("dns", |_| async { io::Result::Ok(()) });

    let stopped = tasks.run(pending(), GRACE).await;

    assert!(matches!(stopped, Stopped::Died { task: "dns", error: None }));
    assert_eq!(stopped.to_string(), "dns ended");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_named_with_its_message() {
    let bodies: [fn() -> io::Result<()>; 3] =
        [|| panic!("a str"), || panic!("a {}", "String"), || std::panic::panic_any(7)];
    for (body, message) in bodies.into_iter().zip(["a str", "a String", "no message"]) {
        let mut tasks = Tasks::default();
        tasks.spawn("dns", obedient);
        tasks.spawn("relay", |_| async move { body() });

        let stopped = tasks.run(pending(), GRACE).await;

        assert_eq!(stopped.to_string(), format!("relay failed: panicked: {message}"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_cause_is_shown_with_its_own_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("read the token")]
    struct Outer(#[source] io::Error);
    let mut tasks = Tasks::default();
    tasks.spawn("identity", |_| async { Err(Outer(io::Error::other("two\nlines"))) });

    let stopped = tasks.run(pending(), GRACE).await;

    assert_eq!(stopped.to_string(), r"identity failed: read the token: two\nlines");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_stop_in_time_is_aborted_and_counted() {
    let dropped = Arc::new(AtomicBool::new(false));
    let witness = Witness(Arc::clone(&dropped));
    let mut tasks = Tasks::default();
    tasks.spawn("dns", obedient);
    tasks.spawn("xds", |_| async move {
        let _witness = witness;
        pending::<io::Result<()>>().await
    });
    let start = Instant::now();

    let stopped = tasks.run(ready(()), GRACE).await;

    assert!(matches!(stopped, Stopped::Late(1)));
    assert_eq!(stopped.to_string(), "1 task did not stop in time");
    assert!(dropped.load(Ordering::Relaxed), "its sockets are closed before the process ends");
    assert_eq!(start.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn the_grace_time_is_used_only_as_far_as_needed() {
    let mut tasks = Tasks::default();
    tasks.spawn("envoy", |stop| async move {
        stop.cancelled().await;
        sleep(Duration::from_secs(2)).await;
        io::Result::Ok(())
    });
    let start = Instant::now();

    let stopped = tasks.run(ready(()), GRACE).await;

    assert!(matches!(stopped, Stopped::Clean));
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn the_first_death_is_the_one_reported() {
    let mut tasks = Tasks::default();
    tasks.spawn("dns", |stop| async move {
        stop.cancelled().await;
        Err(io::Error::other("second"))
    });
    tasks.spawn("late", |_| pending::<io::Result<()>>());
    tasks.spawn("xds", |_| async { Err(io::Error::other("first")) });

    let stopped = tasks.run(pending(), GRACE).await;

    assert_eq!(stopped.to_string(), "xds failed: first");
}

#[tokio::test(start_paused = true)]
async fn without_tasks_the_request_to_stop_is_waited_for() {
    let start = Instant::now();

    let stopped = Tasks::default().run(sleep(Duration::from_secs(3)), GRACE).await;

    assert!(matches!(stopped, Stopped::Clean));
    assert_eq!(start.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn a_task_on_a_thread_of_its_own_stops_and_dies_like_any_other() {
    let mut tasks = Tasks::default();
    let waits = |stop: CancellationToken| async move {
        stop.cancelled().await;
        Ok::<_, fmt::Error>(())
    };
    tasks.spawn_apart("waits", waits).unwrap();
    let stopped = tasks.run(ready(()), Duration::from_secs(60)).await;
    assert!(matches!(stopped, Stopped::Clean), "{stopped}");

    let mut tasks = Tasks::default();
    tasks.spawn_apart("waits", waits).unwrap();
    tasks.spawn_apart("fails", |_| async { Err(fmt::Error) }).unwrap();
    let stopped = tasks.run(pending(), Duration::from_secs(60)).await;
    assert!(matches!(stopped, Stopped::Died { task: "fails", error: Some(_) }), "{stopped}");
}

#[tokio::test]
async fn one_that_lasts_is_told_when_the_others_have_ended() {
    let (ended, mut others) = tokio::sync::watch::channel(false);
    let mut tasks = Tasks::default();
    tasks
        .spawn_lasting("dns", |stop| async move {
            stop.cancelled().await;
            assert!(*others.borrow_and_update(), "told too early");
            Ok::<_, io::Error>(())
        })
        .unwrap();
    tasks.spawn("envoy", |stop| async move {
        stop.cancelled().await;
        tokio::task::yield_now().await;
        ended.send_replace(true);
        Ok::<_, io::Error>(())
    });

    assert!(matches!(tasks.run(async {}, Duration::from_secs(5)).await, Stopped::Clean));
}
