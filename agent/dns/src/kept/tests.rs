//! Tests of what is kept: read as it was written, and nothing else is read.

use std::io;

use hawser_proto::istio::nds::{NameInfo, NameTable};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

const OWNER: &str = "spiffe://cluster.local/ns/demo/sa/vm";

fn named(host: &str) -> Names {
    let info = NameInfo { ips: vec!["10.0.0.1".to_owned()], ..NameInfo::default() };
    Names::from(&NameTable { table: [(host.to_owned(), info)].into() })
}

fn place(directory: &TempDir) -> Place {
    Place { directory: directory.path().join("names"), owner: OWNER.to_owned() }
}

fn kept(host: &str) -> Kept {
    let since = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Kept { names: named(host), since, owner: OWNER.to_owned() }
}

fn read(place: &Place) -> Option<Kept> {
    Keeper::open(place.clone()).1
}

/// The hosts that are in the file.
fn hosts(place: &Place) -> Vec<String> {
    let names = look(&place.directory).map(|kept| kept.names).unwrap_or_default();
    names.iter().map(|entry| entry.host.to_owned()).collect()
}

#[test]
fn what_is_kept_is_read_at_the_next_start_and_by_who_looks() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let (keeper, before) = Keeper::open(place.clone());
    assert_eq!((before, look(&place.directory)), (None, None));

    keeper.write(&kept("a.b")).unwrap();

    assert_eq!(read(&place), Some(kept("a.b")));
    assert_eq!(look(&place.directory), Some(kept("a.b")));
}

#[test]
fn a_damaged_file_is_set_aside_and_the_next_one_is_written() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let (keeper, _) = Keeper::open(place.clone());
    keeper.write(&kept("a.b")).unwrap();
    let path = place.directory.join(FILE);
    let whole = fs::read(&path).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        hawser_state::write_file(&path, 0o600, &damaged).unwrap();
        assert_eq!(look(&place.directory), None, "{at}");
        assert!(path.exists(), "who looks changes nothing");
        assert_eq!(read(&place), None, "{at}");
        assert!(!path.exists() && place.directory.join("names.damaged-1").exists());
    }
    keeper.write(&kept("a.b")).unwrap();
    assert_eq!(read(&place), Some(kept("a.b")));
}

#[test]
fn a_file_that_holds_no_names_is_set_aside() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let store = Store::open(&place.directory).unwrap();
    let good = kept("a.b").body();
    for bad in [&good[..good.len() - 1], &good[..9], &[], &[0xff; 40]] {
        store.write(FILE, VERSION, bad).unwrap();
        assert_eq!(read(&place), None, "{bad:?}");
        assert!(!place.directory.join(FILE).exists());
    }
}

#[test]
fn names_of_another_workload_are_not_answered() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    Keeper::open(place.clone()).0.write(&kept("a.b")).unwrap();
    let other = Place { owner: "spiffe://cluster.local/ns/demo/sa/other".to_owned(), ..place };

    assert_eq!(read(&other), None);

    assert!(other.directory.join("names.damaged-1").exists());
}

#[test]
fn a_place_that_cannot_be_had_is_not_fatal() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    hawser_state::write_file(&file, 0o600, b"").unwrap();
    let (keeper, kept_before) =
        Keeper::open(Place { directory: file.join("names"), owner: OWNER.to_owned() });
    assert_eq!(kept_before, None);
    keeper.write(&kept("a.b")).unwrap();
}

/// Somebody who keeps what is published.
struct Keeping {
    publish: watch::Sender<Option<Names>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Keeping {
    fn start(place: &Place) -> Self {
        let (publish, names) = watch::channel(None);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(keep(Keeper::open(place.clone()).0, names, stop.clone()));
        Self { publish, stop, tasks }
    }

    fn publish(&self, host: &str) {
        self.publish.send_replace(Some(named(host)));
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

/// Waits until the file holds this host alone; time passes meanwhile as fast as it can.
async fn until(place: &Place, host: &str) -> io::Result<()> {
    while hosts(place) != [host] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_first_names_are_written_at_once_and_of_those_that_follow_the_last_after_a_while() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let keeping = Keeping::start(&place);
    let began = Instant::now();
    for host in ["a", "b", "c"] {
        keeping.publish(host);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(hosts(&place), ["a"], "the first, and no other yet");
    }
    until(&place, "c").await.unwrap();
    assert!(began.elapsed() >= BETWEEN);
    keeping.publish("d");
    until(&place, "d").await.unwrap();
    assert!(began.elapsed() >= 2 * BETWEEN);
    keeping.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_yet_is_written_at_the_end() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let keeping = Keeping::start(&place);
    keeping.publish("a");
    keeping.end().await;
    assert_eq!(hosts(&place), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_publishes_may_be_gone() {
    let directory = TempDir::new().unwrap();
    let place = place(&directory);
    let Keeping { publish, stop, mut tasks } = Keeping::start(&place);
    publish.send_replace(Some(named("a")));
    drop(publish);
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(hosts(&place), ["a"]);
}
