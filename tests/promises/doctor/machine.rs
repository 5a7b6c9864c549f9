//! Faults of the machine: in files of its system, and on disks of its own.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use hawser_harness::agent::hawser;

use super::{Fault, Report, Seen, Site, program, put};
use crate::HAWSER;

pub(super) const FAULTS: &[Fault] = &[
    ("clock", a_clock_that_is_behind_is_told_by_what_was_written_later),
    ("ntp", a_clock_that_nobody_keeps_right_is_told),
    ("read-only", a_disk_that_is_read_only_is_named),
    ("disk", a_disk_that_is_full_is_named),
    ("inodes", a_disk_without_room_for_files_is_named),
    ("account", a_missing_user_is_told_where_units_need_it),
    ("state-owner", a_state_that_others_can_read_or_own_is_named),
    ("memory", little_memory_is_told),
    ("open-files", a_machine_at_its_limit_of_open_files_is_told),
    ("kernel", an_old_kernel_is_named),
    ("cgroup", units_are_not_told_apart_with_the_old_cgroups),
    ("systemd", an_old_systemd_is_named_and_one_that_does_not_run),
    ("units", a_service_that_is_not_installed_or_does_not_start_at_boot_is_told),
    ("hostname", a_machine_that_does_not_know_itself_is_told),
];

/// A machine in order.
pub(super) fn healthy(root: &Path) -> Result<()> {
    program(root, "usr/bin/timedatectl", "echo NTP=yes; echo NTPSynchronized=yes")?;
    program(root, "usr/bin/systemctl", "echo 'systemd 257 (257.9-1)'; echo '+PAM +AUDIT'")?;
    put(root, "etc/hosts", "127.0.0.1 localhost\n127.0.1.1 vm-7.example vm-7\n")?;
    put(root, "proc/sys/kernel/hostname", "vm-7\n")?;
    put(root, "proc/sys/kernel/osrelease", "6.12.43+deb13-amd64\n")?;
    put(root, "proc/sys/fs/file-nr", "1696\t0\t9223372036854775807\n")?;
    put(root, "proc/meminfo", &meminfo(1 << 20))?;
    put(root, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")?;
    put(root, "usr/lib/systemd/system/hawser.service", "[Service]\n")?;
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    symlink("/usr/lib/systemd/system/hawser.service", wants.join("hawser.service"))?;
    let uid = nix::unistd::geteuid();
    put(root, "etc/passwd", &format!("root:x:0:0::/:/bin/sh\nistio-proxy:x:{uid}:{uid}::/:/\n"))?;
    fs::create_dir_all(root.join("run/systemd/system"))?;
    fs::create_dir_all(root.join("var/lib/hawser"))?;
    fs::set_permissions(root.join("var/lib/hawser"), Permissions::from_mode(0o700))?;
    Ok(())
}

fn meminfo(available: u64) -> String {
    format!(
        "MemTotal:        4008600 kB\nMemFree:          20000 kB\nMemAvailable: {available} kB\n"
    )
}

#[tokio::test]
async fn a_machine_in_order_is_left_in_peace() -> Result<()> {
    let site = Site::new()?;

    let report = super::doctor(site.root(), &["--only", "machine"]).await?;

    for seen in report.all()? {
        seen.ok()?;
    }
    assert_eq!(report.exit, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_clock_that_is_behind_is_told_by_what_was_written_later() -> Result<()> {
    let site = Site::new()?;
    site.put("var/lib/hawser/names", "kept")?;
    let later = SystemTime::now() + Duration::from_secs(3 * 86_400 + 60);
    File::options().write(true).open(site.file("var/lib/hawser/names"))?.set_modified(later)?;

    let seen = site.look("clock").await?;

    seen.failed(&["at least 3 days behind", "var/lib/hawser/names"], "timedatectl set-ntp true")
}

#[tokio::test]
async fn a_clock_that_nobody_keeps_right_is_told() -> Result<()> {
    let site = Site::new()?;
    site.program("usr/bin/timedatectl", "echo NTP=no; echo NTPSynchronized=no")?;
    let seen = site.look("ntp").await?;
    seen.warns(&["not synchronized", "no time service"], "timedatectl set-ntp true")?;

    site.program("usr/bin/timedatectl", "echo NTP=yes; echo NTPSynchronized=no")?;
    site.look("ntp").await?.warns(&["has not reached a time server"], "timesync-status")?;

    fs::remove_file(site.file("usr/bin/timedatectl"))?;
    site.look("ntp").await?.says("unknown", &["there is no timedatectl"])
}

#[tokio::test]
async fn a_disk_that_is_read_only_is_named() -> Result<()> {
    let site = Site::new()?;
    let seen = on_disk(&site, "ro", "read-only").await?;
    seen.failed(&["var/lib/hawser", "read-only"], "mount -o remount,rw")
}

#[tokio::test]
async fn a_disk_that_is_full_is_named() -> Result<()> {
    let site = Site::new()?;
    let seen = on_disk(&site, "size=8m", "disk").await?;
    seen.failed(&["8 MiB are left", "var/lib/hawser"], "make room: `du")?;

    let seen = on_disk(&site, "size=64m", "disk").await?;
    seen.warns(&["64 MiB are left"], "make room: `du")
}

#[tokio::test]
async fn a_disk_without_room_for_files_is_named() -> Result<()> {
    let site = Site::new()?;
    let seen = on_disk(&site, "nr_inodes=12", "inodes").await?;
    seen.failed(&["11 more files fit", "var/lib/hawser"], "du -x --inodes")
}

/// What a check says where the state is on a disk of its own, mounted like this.
async fn on_disk(site: &Site, options: &str, check: &str) -> Result<Seen> {
    const MOUNT: &str = r#"mount -t tmpfs -o "$1,mode=0700" tmpfs "$2" && shift 2 && exec "$@""#;
    let state = site.file("var/lib/hawser");
    let words = ["--mount", "--propagation", "private", "sh", "-c", MOUNT, "mount", options];
    let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
    args.extend([state.into(), HAWSER.into(), "--root".into(), site.root().into()]);
    args.extend(["doctor", "--json", "--only", check].map(OsString::from));
    let output = hawser(Path::new("unshare"), &args, &[]).await?;
    let report = Report::of(&output).context("mounting a disk needs root (CAP_SYS_ADMIN)")?;
    report.seen(check)
}

#[tokio::test]
async fn a_missing_user_is_told_where_units_need_it() -> Result<()> {
    let site = Site::new()?;
    site.put("etc/passwd", "root:x:0:0::/:/bin/sh\n")?;
    site.look("account").await?.failed(&["no user istio-proxy"], "systemd-sysusers")?;

    fs::remove_file(site.file("usr/lib/systemd/system/hawser.service"))?;
    site.look("account").await?.ok()
}

#[tokio::test]
async fn a_state_that_others_can_read_or_own_is_named() -> Result<()> {
    let site = Site::new()?;
    let state = site.file("var/lib/hawser");
    fs::set_permissions(&state, Permissions::from_mode(0o755))?;
    site.look("state-owner").await?.failed(&["mode is 755", "private key"], "chmod 700")?;

    fs::set_permissions(&state, Permissions::from_mode(0o700))?;
    site.put("var/lib/hawser/identity", "x")?;
    chown(state.join("identity"), Some(4711), None).context("run the tests as root")?;
    let seen = site.look("state-owner").await?;
    seen.failed(&["hawser/identity belongs to user 4711"], "chown -R")
}

#[tokio::test]
async fn little_memory_is_told() -> Result<()> {
    let site = Site::new()?;
    site.put("proc/meminfo", &meminfo(100 << 10))?;
    site.look("memory").await?.warns(&["100 of 3914 megabytes"], "ps -eo rss")?;

    site.put("proc/meminfo", &meminfo(9 << 10))?;
    site.look("memory").await?.failed(&["9 of 3914 megabytes", "the kernel kills"], "ps -eo rss")
}

#[tokio::test]
async fn a_machine_at_its_limit_of_open_files_is_told() -> Result<()> {
    let site = Site::new()?;
    site.put("proc/sys/fs/file-nr", "9100\t0\t10000\n")?;
    let seen = site.look("open-files").await?;
    seen.failed(&["9100 of 10000 files are open"], "sysctl fs.file-max=20000")
}

#[tokio::test]
async fn an_old_kernel_is_named() -> Result<()> {
    let site = Site::new()?;
    site.put("proc/sys/kernel/osrelease", "4.4.0-210-generic\n")?;
    let seen = site.look("kernel").await?;
    seen.failed(&["4.4.0-210-generic, older than 4.18", "nf_tables"], "intercept.enabled = false")
}

#[tokio::test]
async fn units_are_not_told_apart_with_the_old_cgroups() -> Result<()> {
    let site = Site::new()?;
    fs::remove_file(site.file("sys/fs/cgroup/cgroup.controllers"))?;
    site.look("cgroup").await?.ok()?;

    site.put("etc/hawser/hawser.toml", "[intercept]\nunits = [\"web.service\"]\n")?;
    let seen = site.look("cgroup").await?;
    seen.failed(&["cgroup v1", "intercept.units"], "unified_cgroup_hierarchy=1")
}

#[tokio::test]
async fn an_old_systemd_is_named_and_one_that_does_not_run() -> Result<()> {
    let site = Site::new()?;
    site.program("usr/bin/systemctl", "echo 'systemd 219'; echo '+PAM'")?;
    site.look("systemd").await?.failed(&["systemd 219, older than 239"], "update the system")?;

    let site = Site::new()?;
    fs::remove_dir(site.file("run/systemd/system"))?;
    site.look("systemd").await?.warns(&["not what runs here"], "hawser run --envoy")
}

#[tokio::test]
async fn a_service_that_is_not_installed_or_does_not_start_at_boot_is_told() -> Result<()> {
    let site = Site::new()?;
    fs::remove_file(site.file("etc/systemd/system/multi-user.target.wants/hawser.service"))?;
    // Joining is what enables it.
    site.look("units").await?.ok()?;
    site.put("etc/hawser/mesh/cluster.env", "POD_NAMESPACE='vms'\n")?;
    site.look("units").await?.warns(&["not enabled"], "systemctl enable --now hawser.service")?;

    fs::remove_file(site.file("usr/lib/systemd/system/hawser.service"))?;
    site.look("units").await?.failed(&["no hawser.service"], "install the package")
}

#[tokio::test]
async fn a_machine_that_does_not_know_itself_is_told() -> Result<()> {
    let site = Site::new()?;
    site.put("etc/hosts", "127.0.0.1 localhost # vm-7\n")?;
    site.program("usr/bin/getent", "exit 2")?;
    let seen = site.look("hostname").await?;
    seen.warns(&["vm-7, this machine, cannot be resolved"], "echo 127.0.1.1 vm-7")?;

    site.program("usr/bin/getent", "echo 10.0.0.7 vm-7")?;
    site.look("hostname").await?.ok()?;

    site.put("proc/sys/kernel/hostname", "localhost\n")?;
    site.look("hostname").await?.warns(&["called \"localhost\""], "hostnamectl set-hostname")
}

#[tokio::test]
async fn what_only_root_sees_is_said_and_is_no_failure() -> Result<()> {
    let site = Site::new()?;
    fs::set_permissions(site.root(), Permissions::from_mode(0o755))?;
    let root = site.root().as_os_str().to_owned();
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", HAWSER, "--root"];
    let mut args: Vec<OsString> = user.iter().map(OsString::from).collect();
    args.extend([root, "doctor".into(), "--json".into(), "--only".into(), "machine".into()]);
    let report = Report::of(&hawser(Path::new("setpriv"), &args, &[]).await?)?;

    report.seen("state-owner")?.says("unknown", &["run as root to see"])?;
    assert_eq!(report.json["root"], false);
    assert_eq!(report.exit, Some(0));
    Ok(())
}
