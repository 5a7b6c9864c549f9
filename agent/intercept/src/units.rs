//! Where the control groups of systemd units are, as they are now.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::plan::Cgroup;

/// The control groups of those of these units that run. None on a machine without cgroup v2.
pub fn find(units: &[String]) -> BTreeMap<String, Cgroup> {
    if units.is_empty() {
        return BTreeMap::new();
    }
    below(Path::new(ROOT), units)
}

/// Slices are where units are; those of users are theirs, not the system's.
fn below(root: &Path, units: &[String]) -> BTreeMap<String, Cgroup> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if units.contains(&name)
                && let Some(group) = group(root, &entry.path())
            {
                found.entry(name.clone()).or_insert(group);
            }
            if name.ends_with(".slice") && name != USERS {
                open.push(entry.path());
            }
        }
    }
    found
}

fn group(root: &Path, path: &Path) -> Option<Cgroup> {
    let own = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    let path = path.strip_prefix(root).ok()?.to_str()?.to_owned();
    Some(Cgroup { path, id: own.ino() })
}

/// Where nft looks for them as well.
const ROOT: &str = "/sys/fs/cgroup";
const USERS: &str = "user.slice";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_in_whatever_slice_it_runs() {
        let root = tempfile::tempdir().unwrap();
        let dirs = [
            "system.slice/web.service/worker.service",
            "system.slice/system-db.slice/db@1.service",
            "shop.slice/shop-front.slice",
            "user.slice/web2.service",
        ];
        for dir in dirs {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let units =
            ["web.service", "db@1.service", "shop-front.slice", "web2.service", "x.service"];
        let found = below(root.path(), &units.map(str::to_owned));

        let paths: Vec<_> = found.values().map(|g| (g.path.as_str(), g.level())).collect();
        assert_eq!(
            paths,
            [
                ("system.slice/system-db.slice/db@1.service", 3),
                ("shop.slice/shop-front.slice", 2),
                ("system.slice/web.service", 2),
            ]
        );
        assert!(found.values().all(|group| group.id != 0));
    }
}
