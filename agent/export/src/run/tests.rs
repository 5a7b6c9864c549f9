//! What is in place, and who was told, as identities come.

use std::fs;

use hawser_rt::Command;
use tempfile::TempDir;

use super::*;
use crate::ca::{identity, options, same, shown};

/// An export that runs, and what it is fed with.
struct Running {
    _directory: TempDir,
    identity: watch::Sender<Option<Arc<Identity>>>,
    trusted: watch::Sender<Option<Arc<Bundle>>>,
    state: watch::Receiver<Exported>,
    stop: CancellationToken,
    task: tokio::task::JoinSet<Result<(), Error>>,
    options: Options,
}

impl Running {
    fn start(prepare: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(&directory.path().join("certs"));
        fs::create_dir(&options.directory).unwrap();
        prepare(&mut options);
        Self::resume(directory, options)
    }

    fn resume(directory: TempDir, options: Options) -> Self {
        let (identity, fed) = watch::channel(None);
        let (trusted, roots) = watch::channel(None);
        let (tell, state) = watch::channel(Exported::default());
        let (stop, mut task) = (CancellationToken::new(), tokio::task::JoinSet::new());
        task.spawn(run(options.clone(), fed, roots, tell, stop.clone()));
        Self { _directory: directory, identity, trusted, state, stop, task, options }
    }

    fn publish(&self) -> Arc<Identity> {
        let identity = Arc::new(identity());
        self.trusted.send_replace(Some(Arc::new(identity.roots.clone())));
        self.identity.send_replace(Some(Arc::clone(&identity)));
        identity
    }

    async fn until(&mut self, what: impl FnMut(&Exported) -> bool) -> Exported {
        self.state.wait_for(what).await.unwrap().clone()
    }

    fn shows(&self, identity: &Identity) -> bool {
        shown(&self.options.directory).is_some_and(|shown| same(&shown, identity))
    }

    async fn stopped(mut self) -> (TempDir, Options) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
        (self._directory, self.options)
    }
}

fn versions(options: &Options) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&options.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("..hawser-"))
        .collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_exported() {
    let mut running = Running::start(|_| ());
    for _ in 0..3 {
        let identity = running.publish();

        running.state.changed().await.unwrap();

        assert!(running.shows(&identity));
        let state = running.state.borrow().clone();
        assert!(state.at.is_some() && state.wrong.is_none() && state.poked.is_none());
    }
    running.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn the_roots_are_those_that_are_trusted() {
    let mut running = Running::start(|_| ());
    let published = running.publish();
    running.state.changed().await.unwrap();
    let both = published.roots.merge(&identity().roots).unwrap();

    running.trusted.send_replace(Some(Arc::new(both.clone())));
    running.state.changed().await.unwrap();

    let roots = fs::read_to_string(running.options.directory.join("root-cert.pem")).unwrap();
    assert_eq!(roots, both.pem());
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_one_switch() {
    let mut running = Running::start(|_| ());
    for _ in 0..10 {
        running.publish();
        tokio::task::yield_now().await;
    }
    let last = running.publish();

    running.until(|state| state.at.is_some()).await;

    assert!(running.shows(&last));
    assert_eq!(versions(&running.options), ["..hawser-1"]);
}

#[tokio::test(start_paused = true)]
async fn an_export_without_a_future_waits_for_its_stop() {
    let mut running = Running::start(|_| ());
    let identity = running.publish();
    running.state.changed().await.unwrap();
    (running.identity, running.trusted) = (watch::channel(None).0, watch::channel(None).0);

    let (directory, options) = running.stopped().await;

    assert!(same(&shown(&options.directory).unwrap(), &identity));
    drop(directory);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_fails_is_tried_again_until_it_works() {
    let mut running = Running::start(|options| fs::remove_dir(&options.directory).unwrap());
    let identity = running.publish();
    let told = running.until(|state| state.wrong.is_some()).await;
    assert!(told.wrong.unwrap().contains("does not exist: make it"));
    // Again and again, and it is the same trouble.
    for _ in 0..3 {
        running.state.changed().await.unwrap();
        assert!(running.state.borrow().wrong.is_some());
    }

    fs::create_dir(&running.options.directory).unwrap();

    let mended = running.until(|state| state.wrong.is_none()).await;
    assert!(mended.at.is_some());
    assert!(running.shows(&identity));
}

#[tokio::test(start_paused = true)]
async fn pokes_keep_their_distance() {
    let mut running = Running::start(|options| {
        options.stamp = Some(options.directory.join("stamp"));
        options.spacing = Duration::from_secs(3600);
    });
    running.publish();
    let mut last = running.until(|state| state.poked.is_some()).await.poked;
    assert!(running.options.stamp.as_ref().unwrap().exists());
    for _ in 0..3 {
        let start = Instant::now();
        let before = running.state.borrow().at;
        running.publish();
        running.until(|state| state.at != before).await;
        assert!(start.elapsed() < Duration::from_secs(10), "files do not wait");

        last = running.until(|state| state.poked != last).await.poked;

        assert!(start.elapsed() > Duration::from_secs(3000));
    }
}

#[tokio::test(start_paused = true)]
async fn several_switches_within_the_distance_are_one_poke() {
    let mut running = Running::start(|options| {
        options.stamp = Some(options.directory.join("stamp"));
        options.spacing = Duration::from_secs(3600);
    });
    running.publish();
    let first = running.until(|state| state.poked.is_some()).await;
    for _ in 0..4 {
        let before = running.state.borrow().at;
        running.publish();
        let state = running.until(|state| state.at != before).await;
        assert_eq!(state.poked, first.poked);
    }

    running.until(|state| state.poked != first.poked).await;

    let told = fs::read_link(running.options.directory.join("..poked")).unwrap();
    assert_eq!(told, fs::read_link(running.options.directory.join("..data")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_poke_that_fails_is_told_and_tried_again() {
    let mut running = Running::start(|options| {
        options.stamp = Some(options.directory.join("absent/stamp"));
    });
    let identity = running.publish();

    let told = running.until(|state| state.wrong.is_some()).await;

    assert!(told.wrong.unwrap().contains("touch "));
    assert!(running.shows(&identity), "the files are there all the same");
    running.state.changed().await.unwrap();
    assert!(running.state.borrow().poked.is_none());
    fs::create_dir(running.options.directory.join("absent")).unwrap();
    let mended = running.until(|state| state.poked.is_some()).await;
    assert_eq!(mended.wrong, None);
}

#[tokio::test(start_paused = true)]
async fn a_poke_that_a_stop_has_cut_off_is_made_good_at_the_next_start_and_no_other() {
    let mut running = Running::start(|options| {
        options.stamp = Some(options.directory.join("absent/stamp"));
    });
    let identity = running.publish();
    running.until(|state| state.wrong.is_some()).await;
    let (directory, mut options) = running.stopped().await;
    options.stamp = Some(options.directory.join("stamp"));

    let mut running = Running::resume(directory, options);
    running.identity.send_replace(Some(Arc::clone(&identity)));
    running.until(|state| state.poked.is_some()).await;
    let (directory, options) = running.stopped().await;
    assert_eq!(versions(&options), ["..hawser-1"]);
    fs::remove_file(options.stamp.as_ref().unwrap()).unwrap();

    let mut running = Running::resume(directory, options);
    running.identity.send_replace(Some(identity));
    running.until(|state| state.at.is_some()).await;
    // Long enough for every poke that might be due.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!running.options.stamp.as_ref().unwrap().exists());
    assert_eq!(running.state.borrow().poked, None);
}

fn shell(line: &str) -> Option<Command> {
    Some(Command::new("/bin/sh".into(), vec!["-c".to_owned(), line.to_owned()]).unwrap())
}

#[tokio::test]
async fn the_command_runs_after_each_switch_and_finds_the_new_files() {
    let mut running = Running::start(|options| {
        let certs = options.directory.display().to_string();
        options.command = shell(&format!("cat {certs}/cert-chain.pem > {certs}/seen"));
        options.spacing = Duration::ZERO;
    });
    let mut last = None;
    for _ in 0..2 {
        let identity = running.publish();

        last = running.until(|state| state.poked != last).await.poked;

        let seen = fs::read_to_string(running.options.directory.join("seen")).unwrap();
        assert_eq!(seen, identity.chain.pem());
    }
}

#[tokio::test]
async fn a_command_that_fails_is_told_with_what_it_says() {
    let mut running = Running::start(|options| {
        options.command = shell("echo nginx is not active >&2; exit 3");
    });
    running.publish();

    let wrong = running.until(|state| state.wrong.is_some()).await.wrong.unwrap();

    assert!(wrong.starts_with("run the export command: program "), "{wrong}");
    assert!(wrong.contains("nginx is not active"), "{wrong}");
}

#[tokio::test(start_paused = true)]
async fn trouble_is_news_when_it_begins_changes_and_ends() {
    let mut chore = Chore::new(SWITCH_RETRY);
    let error = |path: &str| Error::Busy { path: path.into() };
    assert!(!chore.done());
    let cases = [("a", true), ("a", false), ("a", false), ("b", true), ("a", true)];
    for (path, news) in cases {
        assert_eq!(chore.failed(&error(path), Duration::ZERO).1, news);
    }
    assert!(chore.done());
    assert!(!chore.done());

    let (retry_in, _) = chore.failed(&error("a"), Duration::from_secs(77));
    assert_eq!(retry_in, Duration::from_secs(77));
}
