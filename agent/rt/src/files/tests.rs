//! Real files in a directory of their own, and the kernel's own events.
//!
//! That nothing was told is shown by order: what must not be told happens before something that
//! is, and both are waited for at once.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
};

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

mod kernel;
mod torture;
mod ways;

/// Far more than an event takes, and less than it takes to look without one.
const AMPLE: Duration = Duration::from_secs(30);

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        File::create(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes beside the file and renames over it.
    fn replace(&self, name: &str, text: &str) {
        self.write(&format!("{name}.new"), text);
        self.rename(&format!("{name}.new"), name);
    }

    fn mkdir(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    /// Puts a link in the place of another in one step.
    fn relink(&self, target: &str, name: &str) {
        self.link(target, &format!("{name}.new"));
        self.rename(&format!("{name}.new"), name);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    fn watch(&self, name: &str) -> Watch {
        Watch::new([self.path(name)])
    }
}

async fn told(watch: &mut Watch) {
    timeout(AMPLE, watch.changed()).await.expect("not told of a change");
}

/// What `quiet` watches was left alone while something before `act` went on, or in it.
async fn not_told(quiet: &mut Watch, act: impl FnOnce()) {
    let other = Place::new();
    let mut loud = other.watch("bell");
    act();
    other.write("bell", "rung");
    tokio::select! {
        biased;
        () = quiet.changed() => panic!("told, though nothing has changed"),
        () = told(&mut loud) => {}
    }
}

#[tokio::test]
async fn a_file_is_told_of_however_it_is_replaced() {
    type Act = fn(&Place);
    let cases: [(&str, Act); 9] = [
        ("renamed over", |place| place.replace("token", "new")),
        ("renamed over by the same", |place| place.replace("token", "old")),
        ("written in place", |place| place.write("token", "new")),
        ("written in place with the same length", |place| place.write("token", "odl")),
        ("appended to", |place| {
            let mut file = File::options().append(true).open(place.path("token")).unwrap();
            file.write_all(b"er").unwrap();
        }),
        ("deleted", |place| place.remove("token")),
        ("deleted and made again", |place| {
            place.remove("token");
            place.write("token", "new");
        }),
        ("moved away", |place| place.rename("token", "gone")),
        ("made readable", |place| {
            let mode = fs::Permissions::from_mode(0o640);
            fs::set_permissions(place.path("token"), mode).unwrap();
        }),
    ];
    for (what, act) in cases {
        let place = Place::new();
        place.write("token", "old");
        let mut watch = place.watch("token");

        act(&place);

        timeout(AMPLE, watch.changed()).await.expect(what);
        not_told(&mut watch, || {}).await;
    }
}

#[tokio::test]
async fn a_file_is_told_of_again_and_again() {
    let place = Place::new();
    let mut watch = place.watch("token");
    for round in ["one", "two", "three"] {
        place.replace("token", round);
        told(&mut watch).await;

        place.write("token", round);
        told(&mut watch).await;

        place.remove("token");
        told(&mut watch).await;
    }
}

#[tokio::test]
async fn what_else_happens_in_the_directory_is_not_told() {
    let place = Place::new();
    place.mkdir("certs");
    place.write("certs/key.pem", "key");
    let mut watch = place.watch("certs/key.pem");

    not_told(&mut watch, || {
        place.write("certs/other.pem", "other");
        place.replace("certs/other.pem", "another");
        place.remove("certs/other.pem");
        place.mkdir("certs/key.pem.d/deep");
        place.write("certs/key.pem.d/key.pem", "a name alike elsewhere");
        place.write("noise", "beside the directory");
        place.read("certs/key.pem").unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_happens_while_nobody_listens_is_told_afterwards() {
    let place = Place::new();
    place.write("token", "old");
    let mut watch = place.watch("token");
    for round in 0..3 {
        place.write("token", "new");
        place.write("token", &round.to_string());
        // Somebody busy elsewhere.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }

        told(&mut watch).await;
    }
}

#[test]
fn a_watch_begins_when_it_is_made_not_when_it_is_waited_for() {
    let place = Place::new();
    let mut watch = place.watch("token");
    place.write("token", "before there is a runtime");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    runtime.block_on(told(&mut watch));
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let place = Place::new();
    let mut watch = place.watch("token");
    place.write("token", "new");

    // Given up as soon as the events are off the kernel's queue, before they are told.
    while watch.unrest.is_none() {
        tokio::select! {
            biased;
            () = watch.changed() => panic!("told without a rest"),
            () = tokio::task::yield_now() => {}
        }
    }

    told(&mut watch).await;
    not_told(&mut watch, || {}).await;
}

#[tokio::test]
async fn a_burst_is_told_once() {
    let place = Place::new();
    let mut watch = Watch::new(["key", "chain", "root"].map(|name| place.path(name)));

    for round in 0..20 {
        for name in ["key", "chain", "root"] {
            place.replace(name, &round.to_string());
        }
    }

    told(&mut watch).await;
    not_told(&mut watch, || {}).await;
}

#[test]
fn a_change_is_told_after_a_rest_but_not_put_off_for_ever() {
    let start = Instant::now();
    let millis = Duration::from_millis;
    let pace = Pace { quiet: QUIET, patience: PATIENCE, restless: true };
    for (last, end) in [(0, 100), (50, 150), (899, 999), (900, 1000), (5000, 1000)] {
        let unrest = Unrest { since: start, last: start + millis(last), touched: true };

        assert_eq!(unrest.end(pace), start + millis(end), "{last}");
    }
}

#[tokio::test]
async fn other_paths_can_be_watched_instead() {
    let place = Place::new();
    place.mkdir("elsewhere");
    let mut watch = place.watch("token");

    watch.set([place.path("elsewhere/new"), place.path("kept")]);
    assert!(watch.paths().eq([place.path("elsewhere/new"), place.path("kept")]));
    not_told(&mut watch, || place.write("token", "not ours any more")).await;
    place.write("elsewhere/new", "ours");
    told(&mut watch).await;

    place.write("kept", "changed just before");
    watch.set([place.path("kept"), place.path("elsewhere/new")]);
    told(&mut watch).await;
    not_told(&mut watch, || {}).await;

    watch.set([]);
    not_told(&mut watch, || place.write("kept", "nothing is ours")).await;
}

#[test]
fn relative_paths_are_made_absolute() {
    let watch = Watch::new(["etc/certs".into(), "/etc/certs/".into(), "/etc/certs".into()]);

    let here = std::env::current_dir().unwrap();
    let expected = [PathBuf::from("/etc/certs"), here.join("etc/certs")];
    assert_eq!(watch.paths().count(), 2);
    assert!(expected.iter().all(|path| watch.paths().any(|watched| watched == path)));
}
