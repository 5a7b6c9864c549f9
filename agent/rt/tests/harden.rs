//! A process of its own, because what is set here cannot be taken back.

use std::process::Command;

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit},
};

#[test]
fn neither_the_process_nor_its_children_leave_a_core() {
    hawser_rt::harden::no_core_dumps().unwrap();

    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
    assert!(!prctl::get_dumpable().unwrap());
    let child = Command::new("/bin/sh").args(["-c", "ulimit -H -c"]).output().unwrap();
    assert_eq!(child.stdout, b"0\n");
    // Again is no error: nothing more is asked for than there is.
    hawser_rt::harden::no_core_dumps().unwrap();
}
