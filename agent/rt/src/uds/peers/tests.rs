//! Who is let in, and what a status file says.

use nix::unistd::Gid;

use super::*;

const STATUS: &str = "Name:\tenvoy\nUmask:\t0022\nTgid:\t17\nPid:\t17\nPPid:\t1\n\
                      Uid:\t4711\t4712\t4711\t4711\nGid:\t4711\t4711\t4711\t4711\nFDSize:\t64\n\
                      Groups:\t4 24 27 4800 \nNStgid:\t17\n";

fn peer(uid: u32, gid: u32) -> Peer {
    Peer { uid, gid, pid: Some(17) }
}

#[test]
fn root_the_own_user_those_named_and_members_are_known_and_nobody_else() {
    let own = geteuid().as_raw();
    let members = |groups: &'static [u32]| Some(groups);
    let table = [
        ("root", peer(0, 9), None, true),
        ("the own user", peer(own, 9), None, true),
        ("a user named", peer(4711, 9), None, true),
        ("a group named", peer(4712, 4800), None, true),
        ("a member", peer(4712, 9), members(&[1, 4801]), true),
        ("a member of others", peer(4712, 9), members(&[1, 2]), false),
        ("a member of none", peer(4712, 9), members(&[]), false),
        ("one whose groups are not known", peer(4712, 9), None, false),
    ];
    let peers = Peers { uids: vec![4711], groups: vec![4800, 4801], ..Peers::default() };
    for (row, peer, groups, expected) in table {
        let groups = |_: &Peer| groups.map(<[u32]>::to_vec).ok_or_else(|| io::Error::other("no"));
        assert_eq!(peers.know(&peer, groups), expected, "{row}");
    }
}

#[test]
fn without_groups_nobody_is_looked_up() {
    let peers = Peers { uids: vec![4711], ..Peers::default() };
    let asked = |_: &Peer| panic!("looked up");
    assert!(!peers.know(&peer(4712, 9), asked));
    assert!(!peers.know(&peer(4712, 0), asked), "root's group is a group as others are");
}

#[test]
fn the_groups_are_those_of_the_line_if_it_is_the_same_user() {
    assert_eq!(listed(STATUS, &peer(4712, 9)), Some(vec![4, 24, 27, 4800]), "the effective one");
    assert_eq!(listed(STATUS, &peer(4711, 9)), None, "somebody else has the number by now");
    let table = [
        ("Uid:\t1\t1\t1\t1\nGroups:\t\n", Some(vec![])),
        ("Uid:\t1\t1\t1\t1\nGroups:\t4 48", Some(vec![4])),
        ("Uid:\t1\t1\t1\t1\nGroups:\t4 x \n", None),
        ("Uid:\t1\t1\t1\t1\nGroups:\t4294967296 \n", None),
        ("Uid:\t1\t1\t1\t1\nXGroups:\t4 \n", None),
        ("Uid:\t1\nGroups:\t4 \n", None),
        ("Groups:\t4 \n", None),
        ("Name:\tGroups:\t4\nUid:\t1\t1\t1\t1\n", None),
        ("", None),
    ];
    for (status, expected) in table {
        assert_eq!(listed(status, &peer(1, 9)), expected, "{status:?}");
    }
}

#[test]
fn the_groups_of_this_very_process_are_found() {
    let own = Peer {
        uid: geteuid().as_raw(),
        gid: 9,
        pid: Some(i32::try_from(std::process::id()).unwrap()),
    };
    let mut expected: Vec<u32> =
        nix::unistd::getgroups().unwrap().into_iter().map(Gid::as_raw).collect();
    expected.sort_unstable();
    let mut found = groups(&own).unwrap();
    found.sort_unstable();
    assert_eq!(found, expected);

    for nobody in [None, Some(0), Some(-1), Some(i32::MAX)] {
        groups(&Peer { pid: nobody, ..own }).unwrap_err();
    }
}
