//! What the kernel is asked for, what its events mean, and what is done without them.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::inotify::{AddWatchFlags, InotifyEvent};

use super::*;

#[tokio::test]
async fn many_paths_in_one_directory_are_one_watch() {
    let place = Place::new();
    place.mkdir("real");
    place.link("real", "alias");
    let one = place.watch("real/0");
    let names = (0..50).flat_map(|number| [format!("real/{number}"), format!("alias/{number}")]);

    let mut many = Watch::new(names.map(|name| place.path(&name)));

    let watches = |watch: &Watch| watch.eyes.as_ref().unwrap().watches.len();
    assert_eq!(watches(&many), watches(&one));
    place.write("real/49", "told by two names at once");
    told(&mut many).await;
    not_told(&mut many, || {}).await;
}

#[tokio::test]
async fn what_is_not_needed_any_more_is_not_watched() {
    let place = Place::new();
    place.mkdir("a/b/c");
    let mut watch = place.watch("a/b/c/token");
    let kernels = |watch: &Watch| {
        let inotify = watch.eyes.as_ref().unwrap().inotify.as_fd().as_raw_fd();
        let told = fs::read_to_string(format!("/proc/self/fdinfo/{inotify}")).unwrap();
        told.lines().filter(|line| line.starts_with("inotify wd:")).count()
    };
    let deep = kernels(&watch);
    assert_eq!(deep, watch.eyes.as_ref().unwrap().watches.len());

    watch.set([place.path("token")]);
    assert_eq!(kernels(&watch), deep - 3);

    watch.set([place.path("a/b/c/token")]);
    place.rename("a/b", "away");
    place.mkdir("a/b");
    not_told(&mut watch, || {}).await;
    assert_eq!(kernels(&watch), deep - 1);
}

#[tokio::test(start_paused = true)]
async fn without_events_files_are_polled() {
    let place = Place::new();
    let mut watch = place.watch("token");
    watch.shut(Errno::EMFILE);
    watch.reopen_at = Instant::now() + 10 * AMPLE;
    for text in ["made", "written in place"] {
        let start = Instant::now();
        place.write("token", text);

        told(&mut watch).await;

        assert!(start.elapsed() <= POLL, "{:?}", start.elapsed());
    }
    place.remove("token");
    told(&mut watch).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_up_again_when_there_are_some_to_be_had() {
    let place = Place::new();
    let mut watch = place.watch("token");
    watch.shut(Errno::EMFILE);
    watch.reopen_at = Instant::now() + RECHECK;

    let nothing = timeout(2 * RECHECK, watch.changed()).await;

    assert!(nothing.is_err(), "told of nothing");
    assert!(!watch.blind && !watch.eyes.as_ref().unwrap().watches.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_gives_no_events_is_found_now_and_then() {
    let place = Place::new();
    let mut watch = place.watch("token");
    // As if the directory were on a share that others write to.
    watch.eyes = Some(Eyes::open().unwrap());
    place.write("token", "by another machine");
    let start = Instant::now();

    watch.changed().await;

    assert!(start.elapsed() <= RECHECK, "{:?}", start.elapsed());
    assert!(!watch.eyes.as_ref().unwrap().watches.is_empty(), "and it is watched again");
}

#[test]
fn an_event_means_what_it_says_of_the_names_on_the_way() {
    let place = Place::new();
    place.mkdir("certs");
    place.link("certs", "alias");
    let watch = Watch::new(["alias/key.pem", "certs"].map(|name| place.path(name)));
    let watches = &watch.eyes.as_ref().unwrap().watches;
    let at = |name: &str| {
        let path = place.path(name).canonicalize().unwrap();
        *watches.iter().find(|(_, directory)| directory.path == path).unwrap().0
    };
    let (top, certs) = (at("."), at("certs"));
    let modified = AddWatchFlags::IN_MODIFY;
    let cases = [
        (top, modified, Some("alias"), Sight::Moved),
        (top, modified, Some("certs"), Sight::Touched),
        (top, modified, Some("other"), Sight::Nothing),
        (top, AddWatchFlags::IN_DELETE_SELF, None, Sight::Moved),
        (certs, modified, Some("key.pem"), Sight::Touched),
        (certs, modified, Some("whatever"), Sight::Touched),
        (certs, AddWatchFlags::IN_IGNORED, None, Sight::Moved),
        (top, AddWatchFlags::IN_Q_OVERFLOW, None, Sight::Touched),
    ];
    for (wd, mask, name, expected) in cases {
        let event = InotifyEvent { wd, mask, cookie: 0, name: name.map(Into::into) };

        assert_eq!(eyes::sight(watches, &event), expected, "{event:?}");
    }
    let event = InotifyEvent { wd: certs, mask: modified, cookie: 0, name: None };
    assert_eq!(eyes::sight(&Default::default(), &event), Sight::Nothing, "given up");
}
