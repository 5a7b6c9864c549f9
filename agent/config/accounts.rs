//! Users and groups by name or number, as this machine knows them.

use nix::unistd::{Gid, Group, User};

/// The number of a user.
pub fn user(text: &str) -> Option<u32> {
    let named = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(named)
}

/// The number of a group.
pub fn group(text: &str) -> Option<u32> {
    let named = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    text.parse().ok().or_else(named)
}

/// The users that are members of a group, as far as this machine's databases list them.
pub fn members(group: u32) -> Vec<u32> {
    let found = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    let names = found.into_iter().flat_map(|group| group.mem).take(MOST_MEMBERS);
    names.filter_map(|name| user(&name)).collect()
}

/// More are not let in one by one.
const MOST_MEMBERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_go_by_name_and_by_number() {
        assert_eq!((user("root"), group("root")), (Some(0), Some(0)));
        assert_eq!((user("4711"), group("4711")), (Some(4711), Some(4711)));
        assert_eq!((user("nobody knows"), group("")), (None, None));
        assert!(members(u32::MAX - 9).is_empty());
    }
}
