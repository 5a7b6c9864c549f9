//! Programs by their systemd unit: the control group that a program is in when it calls.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hawser_intercept::plan::{Cgroup, Machine, Options, Taken};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    cases::{machine, names, options},
    world::World,
};

/// A control group of a test's own, in the tree that every process here is in.
struct Group {
    path: PathBuf,
    name: String,
}

impl Group {
    fn new(root: &Path, name: &str) -> Self {
        let name = format!("hw-plan-{name}-{}.service", std::process::id());
        let path = root.join(&name);
        fs::create_dir(&path).unwrap_or_else(|error| {
            panic!("{} cannot be made ({error}): cgroup v2 is needed", path.display())
        });
        Self { path, name }
    }

    fn known(&self) -> Cgroup {
        Cgroup { path: self.name.clone(), id: 1 }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
    }
}

/// Where the tree is mounted: as its own, or beside the old ones.
fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let tree = fields.find(|fields| fields.get(2) == Some(&"cgroup2"));
    PathBuf::from(tree.expect("cgroup v2 is mounted: units are told apart by it")[1])
}

/// Loads rules where the tree is at the place in which nft looks for it.
fn apply(world: &World, options: &Options, machine: &Machine) {
    world.machine.inside(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none)
                .unwrap();
        }
        // Nothing of this thread's view of the machine is anybody else's.
        let (plan, _) = hawser_intercept::plan::Plan::new(options, machine);
        let open = "add element inet hawser outbound { tcp }\n";
        let rules = format!("{}{open}", plan.ruleset());
        crate::netns::load_here(&rules).unwrap();
    });
}

/// Who gets a connection of a program in this group.
fn call_from(world: &World, group: &Group) -> &'static str {
    let program = "import socket; s = socket.create_connection(('203.0.113.5', 80), 5); s.recv(1)";
    let procs = group.path.join("cgroup.procs");
    let shell = format!("echo $$ > {} && exec python3 -c \"{program}\"", procs.display());
    let mut child = world
        .machine
        .inside(|| Command::new("sh").args(["-c", &shell]).stdin(Stdio::null()).spawn().unwrap());
    let (arrival, called) = world.accept();
    drop(called);
    assert!(child.wait().unwrap().success());
    arrival.at
}

#[test]
fn of_units_those_that_are_named_or_all_but_those_that_are_not() {
    let root = root();
    let [web, db] = ["web", "db"].map(|name| Group::new(&root, name));
    let world = World::new();
    let machine = Machine { units: [("web.service".to_owned(), web.known())].into(), ..machine() };
    let mut options = options();
    options.scope.units = Taken::Only(names(&["web.service"]));
    apply(&world, &options, &machine);
    assert_eq!([&web, &db].map(|group| call_from(&world, group)), ["envoy out", "outside"]);
    assert_eq!(world.call("203.0.113.5:80").at, "outside");

    options.scope.units = Taken::All;
    options.scope.exclude_units = names(&["web.service"]);
    apply(&world, &options, &machine);
    assert_eq!([&web, &db].map(|group| call_from(&world, group)), ["outside", "envoy out"]);
    assert_eq!(world.call("203.0.113.5:80").at, "envoy out");
}
