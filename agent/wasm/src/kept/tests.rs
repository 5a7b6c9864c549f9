//! What is kept, across restarts and damage.

use std::borrow::Cow;

use hawser_rt::Hand;
use tempfile::TempDir;

use super::*;

struct Disk {
    directory: TempDir,
    clock: Clock,
    hand: Hand,
}

impl Disk {
    fn new() -> Self {
        let (clock, hand) = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        Self { directory: tempfile::tempdir().unwrap(), clock, hand }
    }

    fn open(&self, room: u64) -> Arc<Kept> {
        let directory = self.directory.path().join("kept");
        Arc::new(Kept::open(directory, room, self.clock.clone(), &Registry::default()))
    }
}

fn asked(address: &str, extension: &str, version: &str, counts: bool) -> Use<'static> {
    let owned = |text: &str| Cow::Owned(text.to_owned());
    Use {
        name: owned(address),
        checksum: None,
        address: owned(address),
        extension: owned(extension),
        version: owned(version),
        version_counts: counts,
    }
}

/// Keeps a module as if it had been fetched.
fn keep(kept: &Kept, asked: &Use<'_>, module: &[u8]) -> Result<(Key, PathBuf), Error> {
    let mut partial = kept.partial().unwrap();
    io::Write::write_all(partial.file(), module).unwrap();
    let content = Checksum::of(module);
    let key = Key { name: asked.name.clone().into_owned(), checksum: content };
    let file = kept.keep(&key, partial, content, module.len() as u64, asked)?;
    Ok((key, file))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_was_kept_is_found_after_a_restart_and_envoy_can_read_it() {
    let disk = Disk::new();
    let ours = asked("http://a/b", "x", "1", true);
    let (key, file) = keep(&disk.open(1000), &ours, b"\0asm1").unwrap();

    let kept = disk.open(1000);

    assert_eq!(kept.look(&ours), Look::Here(key.clone()));
    assert_eq!(kept.verified(key, ours).await, Some(file.clone()));
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(file.with_extension(NOTE)).unwrap().mode() & 0o777, 0o600);
    let name = Checksum::of(b"http://a/b");
    let path = format!("{name}/{}.wasm", Checksum::of(b"\0asm1"));
    assert_eq!(file, disk.directory.path().join("kept").join(path));
}

#[tokio::test]
async fn the_policy_says_whether_another_version_of_the_resource_means_another_module() {
    let disk = Disk::new();
    let kept = disk.open(1000);
    let (key, _) = keep(&kept, &asked("u", "x", "1", true), b"m").unwrap();
    let here = || Look::Here(key.clone());

    assert_eq!(kept.look(&asked("u", "x", "1", true)), here());
    assert_eq!(kept.look(&asked("u", "x", "2", true)), Look::Older(key.clone()));
    assert_eq!(kept.look(&asked("u", "y", "1", true)), Look::Older(key.clone()));
    assert_eq!(kept.look(&asked("u", "x", "2", false)), here());
    assert_eq!(kept.look(&asked("v", "x", "1", false)), Look::Away);
    let by = |sum: &[u8]| asked("u", "x", "9", true).by(Checksum::of(sum));
    assert_eq!(kept.look(&by(b"m")), here());
    assert_eq!(kept.look(&by(b"n")), Look::Away);
    // Used under a new version without being fetched, it is of that version, also on disk.
    assert!(kept.verified(key.clone(), asked("u", "y", "3", true)).await.is_some());
    assert_eq!(disk.open(1000).look(&asked("u", "y", "3", true)), Look::Here(key));
}

#[tokio::test]
async fn of_several_modules_of_an_address_the_one_found_last_counts() {
    let disk = Disk::new();
    let kept = disk.open(1000);
    let ours = asked("u", "x", "1", false);
    let (old, _) = keep(&kept, &ours, b"old").unwrap();
    disk.hand.advance(Duration::from_secs(1));
    let (new, _) = keep(&kept, &ours, b"new").unwrap();

    assert_eq!(kept.look(&ours), Look::Here(new.clone()));
    assert_eq!(disk.open(1000).look(&ours), Look::Here(new));
    disk.hand.advance(Duration::from_secs(1));
    assert!(kept.verified(old.clone(), ours.clone()).await.is_some());
    assert_eq!(disk.open(1000).look(&ours), Look::Here(old));
}

#[tokio::test]
async fn a_damaged_file_is_not_given_away_whenever_it_is_damaged() {
    let disk = Disk::new();
    let ours = asked("u", "x", "1", false);
    for restart in [true, false] {
        let kept = disk.open(1000);
        let (key, file) = keep(&kept, &ours, b"good").unwrap();
        assert!(kept.verified(key.clone(), ours.clone()).await.is_some());
        fs::remove_file(&file).unwrap();
        hawser_state::write_file(&file, 0o644, b"evil").unwrap();

        let kept = if restart { disk.open(1000) } else { kept };

        assert_eq!(kept.look(&ours), Look::Here(key.clone()));
        assert_eq!(kept.verified(key, ours.clone()).await, None);
        assert_eq!(kept.look(&ours), Look::Away);
        assert!(files(disk.directory.path()).is_empty());
    }
}

#[test]
fn what_cannot_be_verified_is_removed_and_what_is_not_ours_is_left() {
    let disk = Disk::new();
    let (ours, theirs) = (asked("u", "x", "1", false), asked("v", "x", "1", false));
    let (_, file) = keep(&disk.open(1000), &ours, b"module").unwrap();
    let (_, other) = keep(&disk.open(1000), &theirs, b"another").unwrap();
    let root = disk.directory.path().join("kept");
    let write = |path: PathBuf| hawser_state::write_file(&path, 0o644, b"x").unwrap();
    let sum = |of: &[u8], kind: &str| format!("{}.{kind}", Checksum::of(of));
    write(file.with_file_name(sum(b"no note", MODULE)));
    write(file.with_file_name(sum(b"no module", NOTE)));
    write(file.with_file_name("theirs.wasm"));
    write(root.join(".partial-1-2"));
    write(root.join("README"));
    // A note of another module, under the name of this one.
    fs::copy(file.with_extension(NOTE), other.with_extension(NOTE)).unwrap();

    let kept = disk.open(1000);

    assert!(matches!(kept.look(&ours), Look::Here(_)));
    assert_eq!(kept.look(&theirs), Look::Away);
    let mut left = files(&root);
    left.sort();
    let theirs = file.with_file_name("theirs.wasm");
    let mut expected = vec![root.join("README"), theirs, file.with_extension(NOTE), file];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn what_nobody_uses_goes_and_what_envoy_uses_stays() {
    let disk = Disk::new();
    let kept = disk.open(1000);
    let uses = ["used", "assigned", "idle", "file"].map(|name| asked(name, name, "1", false));
    let keys: Vec<_> = uses.iter().map(|ours| keep(&kept, ours, b"m").unwrap()).collect();
    kept.assign("assigned", keys[1].0.clone());
    kept.assign_file("file", &keys[3].1.to_string_lossy());
    let day = Duration::from_secs(24 * 3600);
    disk.hand.advance(day);
    assert!(kept.verified(keys[0].0.clone(), uses[0].clone()).await.is_some());
    disk.hand.advance(Duration::from_secs(1));

    kept.expire(day);

    let here = || uses.iter().map(|ours| kept.look(ours) != Look::Away).collect::<Vec<_>>();
    assert_eq!(here(), [true, true, false, true]);
    kept.release_but(&["file".to_owned()]);
    kept.assign("file", keys[0].0.clone());
    kept.expire(day);
    assert_eq!(here(), [true, false, false, false]);
    // The last use is known after a restart.
    disk.open(1000).expire(day);
    assert_eq!(files(disk.directory.path()).len(), 2);
}

#[test]
fn room_is_made_by_what_was_used_least_and_never_by_what_envoy_uses() {
    let disk = Disk::new();
    let kept = disk.open(10);
    let uses = ["a", "b", "c", "d"].map(|name| asked(name, name, "1", false));
    let mut keys = Vec::new();
    for (ours, module) in uses.iter().zip([b"aaaa", b"bbbb"]) {
        keys.push(keep(&kept, ours, module).unwrap().0);
        disk.hand.advance(Duration::from_secs(3600));
    }
    kept.assign("a", keys[0].clone());

    keep(&kept, &uses[2], b"cccc").unwrap();

    assert!(matches!(kept.look(&uses[0]), Look::Here(_)));
    assert_eq!(kept.look(&uses[1]), Look::Away);
    let refused = keep(&kept, &uses[3], b"ddddddd").unwrap_err();
    assert!(matches!(refused, Error::NoRoom { bytes: 7, .. }), "{refused}");
    // Nothing is left of what was refused.
    assert!(
        files(disk.directory.path()).iter().all(|path| !path.to_string_lossy().contains("partial"))
    );
}

#[test]
fn a_directory_that_cannot_be_had_costs_the_modules_only() {
    let disk = Disk::new();
    let file = disk.directory.path().join("file");
    hawser_state::write_file(&file, 0o600, b"").unwrap();

    let kept = Kept::open(file, 10, disk.clock, &Registry::default());

    assert!(kept.partial().is_err());
    assert_eq!(kept.look(&asked("u", "x", "1", false)), Look::Away);
}
