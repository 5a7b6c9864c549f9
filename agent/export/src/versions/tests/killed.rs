//! What programs see when the process has ended in the middle of a switch.

use super::*;
use crate::directory::seam::killed_at;

/// What is in a directory before a switch: the set that programs see, if there is one.
type Before = fn(&Options) -> Option<Identity>;

#[test]
fn a_process_that_is_killed_at_any_step_leaves_the_old_set_or_the_new_one() {
    let cases: [(&str, Before); 6] = [
        ("nothing", |_| None),
        ("a set", |options| {
            let old = identity();
            done(options, &old);
            Some(old)
        }),
        ("two sets", |options| {
            done(options, &identity());
            let old = identity();
            done(options, &old);
            Some(old)
        }),
        ("plain files", |options| {
            let old = identity();
            plain(&options.directory, &old);
            Some(old)
        }),
        ("a plain file among ours", |options| {
            let old = identity();
            done(options, &old);
            fs::remove_file(options.directory.join("key.pem")).unwrap();
            plain(&options.directory, &old);
            symlink("..data/root-cert.pem", options.directory.join("link")).unwrap();
            fs::rename(options.directory.join("link"), options.directory.join("root-cert.pem"))
                .unwrap();
            Some(old)
        }),
        ("half a set", |options| {
            put(&options.directory, "key.pem", b"a key");
            None
        }),
    ];
    let (new, newer) = (identity(), identity());
    for (case, before) in cases {
        let mut steps = 0;
        loop {
            let (directory, mut options) = place();
            let old = before(&options);
            // Wider than a file is at first, so that one that is too wide too early is seen.
            options.key_mode = 0o644;
            options.group = Some(getegid().as_raw());

            let killed = killed_at(steps, || drop(public_switch(&options, &new, &new.roots)));

            let seen = shown(directory.path());
            match (&seen, &old) {
                (Some(seen), Some(old)) => {
                    assert!(same(seen, old) || same(seen, &new), "{case}, {steps}");
                }
                (Some(seen), None) => assert!(same(seen, &new), "{case}, {steps}"),
                (None, old) => assert!(old.is_none(), "{case}, {steps}"),
            }
            assert!(killed || seen.is_some_and(|seen| same(&seen, &new)), "{case}");
            no_file_is_wide_before_it_is_complete(directory.path());

            assert!(done(&options, &newer), "{case}, {steps}");
            assert!(same(&shown(directory.path()).unwrap(), &newer), "{case}, {steps}");
            nothing_is_left_over(directory.path());
            if !killed {
                break;
            }
            steps += 1;
        }
        assert!(steps > 20, "{case} has only {steps} steps");
    }
}

fn no_file_is_wide_before_it_is_complete(directory: &Path) {
    for version in names(directory).iter().filter(|name| number(name).is_some()) {
        for file in names(&directory.join(version)) {
            let path = directory.join(version).join(file);
            let wide = fs::metadata(&path).unwrap().mode() & 0o077 != 0;
            let content = fs::read_to_string(&path).unwrap();
            let complete = content.ends_with("-----\n") || content == "a key";
            assert!(complete || !wide, "{}", path.display());
        }
    }
}

fn nothing_is_left_over(directory: &Path) {
    let found = names(directory);
    let versions: Vec<_> = found.iter().filter_map(|name| number(name)).collect();
    let rest: Vec<_> = found.iter().filter(|name| number(name).is_none()).collect();
    assert_eq!(rest, ["..data", "cert-chain.pem", "key.pem", "root-cert.pem"]);
    assert!(versions.len() <= 2, "{found:?}");
    for version in versions {
        let files = names(&directory.join(name(version)));
        assert!(files.iter().all(|file| NAMES.contains(&file.as_str())), "{files:?}");
    }
}

#[test]
fn a_failed_step_is_made_good_by_the_next_switch() {
    let (directory, options) = place();
    let (old, new) = (identity(), identity());
    done(&options, &old);
    let mut steps = 0;
    while killed_at(steps, || drop(public_switch(&options, &new, &new.roots))) {
        steps += 1;
    }

    assert!(!done(&options, &new), "the last was whole");
    assert!(same(&shown(directory.path()).unwrap(), &new));
    nothing_is_left_over(directory.path());
}
