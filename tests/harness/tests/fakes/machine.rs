//! What is done to a machine: pairs put on it, its time, its disk, its sleep.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hawser_harness::agent::Agent;
use hawser_harness::ca::{Shape, TestCa, spiffe_id};
use hawser_harness::disk::Disk;
use hawser_harness::faketime::{Faketime, library};
use hawser_harness::mesh::Mesh;
use hawser_harness::vm::Vm;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/agent.py");
const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn a_pair_is_put_where_a_machine_is_to_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(dir.path()).await.unwrap();
    let vm = Vm::new(Path::new(SCRIPT), &dir.path().join("root"), &mesh).unwrap();
    let ca = TestCa::new(Shape::SelfSigned).unwrap();
    for _ in 0..2 {
        let pair = ca.workload(&spiffe_id("vms", "web"), Duration::from_secs(60)).unwrap();
        let place = vm.provision("/etc/certs", &pair).unwrap();
        vm.provision_roots("/etc/certs", &ca.root_pem()).unwrap();
        assert_eq!(place, vm.root().join("etc/certs"));
        let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        assert_eq!((read("key.pem"), read("cert-chain.pem")), (pair.key, pair.chain));
        assert_eq!(read("root-cert.pem"), ca.root_pem());
        let mode = fs::metadata(place.join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 3);
    }
}

#[test]
fn a_clock_is_ahead_behind_and_moved_or_it_is_said_what_to_install() {
    let Err(error) = library() else {
        let clock = Faketime::ahead(2 * DAY).unwrap();
        assert!(about(shown(&clock), 2 * DAY));
        clock.set(-3 * DAY).unwrap();
        assert!(about(shown(&clock), -3 * DAY));
        return;
    };
    assert!(error.to_string().contains("apt-get install libfaketime"), "{error}");
}

/// How many seconds ahead a program sees it.
fn shown(clock: &Faketime) -> i64 {
    let date = Command::new("date").arg("+%s").envs(clock.env()).output().unwrap();
    let seen: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    seen - i64::try_from(now).unwrap()
}

fn about(seconds: i64, wanted: i64) -> bool {
    (seconds - wanted).abs() < 600
}

#[tokio::test]
async fn a_suspended_agent_stands_still_with_all_that_it_has_started() {
    let root = tempfile::tempdir().unwrap();
    let mut agent =
        Agent::start(Path::new(SCRIPT), root.path(), &[""; 0], &[("ACT", "father")]).await.unwrap();
    let told = agent.until("the pid", |told| !told.status.is_empty()).await.unwrap();
    let child: i32 = told.status[0].parse().unwrap();

    agent.suspend().await.unwrap();
    let state = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    assert_eq!((state(agent.pid()), state(child)), ('T', 'T'));
    agent.resume().unwrap();
    assert!(state(agent.pid()) != 'T' && state(child) != 'T');
    agent.kill().await.unwrap();
}

#[tokio::test]
async fn a_small_disk_is_filled_cleared_and_made_read_only_for_the_agent_alone() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("var/lib/hawser");
    let disk = match Disk::small(&place, 64 * 1024).await {
        Ok(disk) => disk,
        Err(error) => {
            assert!(format!("{error:#}").contains("as root"), "{error:#}");
            return;
        }
    };
    fs::File::create(place.join("kept")).unwrap();
    let env = [("ACT".into(), "serve".into())];
    let started = Agent::spawn_under(
        (&disk.under(), None),
        Path::new(SCRIPT),
        root.path(),
        &[OsStr::new("x")],
        &env,
    );
    let mut agent = started.unwrap().ready().await.unwrap();
    let pid = agent.pid();
    let write = |name: &str, length: usize| {
        fs::File::create(disk.file(pid, name))
            .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![0; length]))
    };
    assert!(disk.file(pid, "kept").exists(), "what was there is there");

    write("fits", 4096).unwrap();
    assert!(!place.join("fits").exists(), "nobody else sees it");
    disk.fill(pid).await.unwrap();
    assert_eq!(write("full", 8192).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    disk.clear(pid).await.unwrap();
    write("fits again", 8192).unwrap();
    disk.read_only(pid).await.unwrap();
    let refused = write("refused", 1).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    disk.writable(pid).await.unwrap();
    write("writable", 1).unwrap();
    assert_eq!(agent.terminate().await.unwrap().code(), Some(3));
}
