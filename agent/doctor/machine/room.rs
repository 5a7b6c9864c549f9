//! Where the agent writes: whether it can, whether there is room, and whose it is.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};

use super::system::owner_id;
use crate::doctor::{Finding, Patient};

/// A disk, and the first of our places on it.
struct Disk {
    place: PathBuf,
    stat: Statvfs,
}

/// The disks of all our places, each once. A place that is not there yet is on its parent's.
fn disks(patient: &Patient) -> Result<Vec<Disk>, String> {
    let paths = &patient.paths;
    let places = [paths.state(), paths.run(), paths.cache(), paths.at("var/log"), paths.bundle()];
    let mut known = BTreeSet::new();
    let mut disks = Vec::new();
    for place in places {
        let Some(there) = place.ancestors().find(|place| place.exists()) else { continue };
        let device = fs::metadata(there).map_err(|error| unseen(patient, there, &error))?.dev();
        if known.insert(device) {
            let stat = statvfs(there);
            let stat = stat.map_err(|errno| unseen(patient, there, &errno.into()))?;
            disks.push(Disk { place, stat });
        }
    }
    Ok(disks)
}

fn unseen(patient: &Patient, place: &Path, error: &io::Error) -> String {
    patient.unseen(&place.display().to_string(), error)
}

/// None of them is mounted read-only.
pub(super) fn writable(patient: &Patient) -> Finding {
    let disks = match disks(patient) {
        Ok(disks) => disks,
        Err(why) => return Finding::unknown(why),
    };
    let mut locked = disks.iter().filter(|disk| disk.stat.flags().contains(FsFlags::ST_RDONLY));
    let Some(Disk { place, .. }) = locked.next() else {
        return Finding::ok("nothing is mounted read-only");
    };
    let place = place.display();
    Finding::failed(
        format!("{place} is on a file system that is mounted read-only"),
        format!("`findmnt --target {place}` shows which; `mount -o remount,rw` it"),
    )
    .because("the kernel does so after an error of the disk: `dmesg | grep -i remount`")
}

/// There is room on all of them.
pub(super) fn space(patient: &Patient) -> Finding {
    let left = |stat: &Statvfs| stat.blocks_available().saturating_mul(stat.fragment_size());
    least(patient, left, [LITTLE_SPACE, NO_SPACE], |place, bytes| {
        (
            format!("{} are left for {place}", said(bytes)),
            format!(
                "make room: `du -xh --max-depth=3 $(findmnt -no TARGET --target {place}) | \
                 sort -h | tail` shows what takes it"
            ),
        )
    })
}

/// And for more files.
pub(super) fn inodes(patient: &Patient) -> Finding {
    // Some file systems have as many as there is room.
    let left = |stat: &Statvfs| match stat.files() {
        0 => u64::MAX,
        _ => stat.files_available(),
    };
    least(patient, left, [FEW_FILES, NO_FILES], |place, files| {
        (
            format!("{files} more files fit beside {place}"),
            format!(
                "remove files: `du -x --inodes --max-depth=3 $(findmnt -no TARGET --target \
                 {place}) | sort -n | tail` shows where they are"
            ),
        )
    })
}

/// The disk with the least of something, judged by two bounds.
fn least(
    patient: &Patient,
    left: impl Fn(&Statvfs) -> u64,
    [little, none]: [u64; 2],
    told: impl Fn(&str, u64) -> (String, String),
) -> Finding {
    let disks = match disks(patient) {
        Ok(disks) => disks,
        Err(why) => return Finding::unknown(why),
    };
    let Some(disk) = disks.iter().min_by_key(|disk| left(&disk.stat)) else {
        return Finding::unknown("no place of ours is to be found");
    };
    let amount = left(&disk.stat);
    let (evidence, remedy) = told(&disk.place.display().to_string(), amount);
    match amount {
        u64::MAX => Finding::ok("as many as there is room for"),
        amount if amount < none => Finding::failed(evidence, remedy),
        amount if amount < little => Finding::warning(evidence, remedy),
        _ => Finding::ok(evidence),
    }
}

/// The state belongs to whoever the agent runs as, and nobody else looks into it.
pub(super) fn owner(patient: &Patient) -> Finding {
    let state = patient.paths.state();
    let shown = state.display();
    let found = match fs::metadata(&state) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Finding::ok(format!("{shown} is made at the first start"));
        }
        Err(error) => return Finding::unknown(unseen(patient, &state, &error)),
    };
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::failed(
            format!("others may look into {shown}: its mode is {mode:o}, not 700"),
            format!("`chmod 700 {shown}`"),
        )
        .because("the private key is in there");
    }
    let owner = owner_id(patient).unwrap_or(found.uid());
    let stray = match stray(&state, owner) {
        Ok(stray) => stray,
        Err(error) => return Finding::unknown(unseen(patient, &state, &error)),
    };
    match stray {
        Some((path, uid)) => Finding::failed(
            format!("{} belongs to user {uid}, not to {owner}", path.display()),
            format!("`chown -R --reference={shown} {shown}/.`, after `chown {owner} {shown}`"),
        )
        .because("somebody else than the service has started an agent here, or copied files"),
        None => Finding::ok(format!("{shown} belongs to user {owner} alone")),
    }
}

/// What in a directory, or the directory itself, belongs to somebody else.
fn stray(directory: &Path, owner: u32) -> io::Result<Option<(PathBuf, u32)>> {
    let found = fs::symlink_metadata(directory)?;
    if found.uid() != owner {
        return Ok(Some((directory.to_owned(), found.uid())));
    }
    for entry in fs::read_dir(directory)?.take(MOST) {
        let entry = entry?;
        let uid = entry.metadata()?.uid();
        if uid != owner {
            return Ok(Some((entry.path(), uid)));
        }
    }
    Ok(None)
}

fn said(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        few @ 1..10_240 => format!("{few} MiB"),
        many => format!("{} GiB", many >> 10),
    }
}

/// Less is no room at all: a log of systemd's takes more in an hour.
const NO_SPACE: u64 = 16 << 20;
const LITTLE_SPACE: u64 = 128 << 20;
const NO_FILES: u64 = 64;
const FEW_FILES: u64 = 1024;
const MOST: usize = 256;
