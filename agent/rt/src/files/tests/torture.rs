//! A small tree in which anything happens: whenever what is read through a path differs from
//! before, it is told.

use super::*;

const ACTS: usize = 60;
const TREES: u64 = 12;

#[tokio::test]
async fn whatever_happens_to_a_tree_no_change_goes_untold() {
    let mut trees = tokio::task::JoinSet::new();
    for seed in 0..TREES {
        trees.spawn(torture(seed));
    }
    trees.join_all().await;
}

async fn torture(seed: u64) {
    let place = Place::new();
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut watch = place.watch("x/y/z");
    let mut acts = Vec::new();
    for number in 0..ACTS {
        let before = place.read("x/y/z");
        // Several at a time, so that ways change while others do.
        for _ in 0..dice.usize(1..4) {
            acts.push(act(&place, &mut dice, number));
        }
        if place.read("x/y/z") != before && timeout(AMPLE, watch.changed()).await.is_err() {
            panic!("seed {seed}: not told after {acts:#?}");
        }
    }
}

/// Does something that may well fail, as a bungling operator would.
fn act(place: &Place, dice: &mut fastrand::Rng, number: usize) -> String {
    let names =
        ["x", "x/y", "x/y/z", "x/z", "y", "y/z", "y/y", "y/y/z", "z", "v", "v/y", "v/y/z", "v/z"];
    let name = names[dice.usize(..names.len())];
    let other = names[dice.usize(..names.len())];
    let path = place.path(name);
    let parent = path.parent().unwrap();
    let (what, result) = match dice.usize(..10) {
        0 | 1 => ("mkdir", fs::create_dir_all(&path)),
        2 | 3 => (
            "write",
            fs::create_dir_all(parent)
                .and_then(|()| File::create(&path))
                .and_then(|mut file| file.write_all(number.to_string().as_bytes())),
        ),
        4 => (
            "replace",
            File::create(place.path("new"))
                .and_then(|mut file| file.write_all(number.to_string().as_bytes()))
                .and_then(|()| fs::rename(place.path("new"), &path)),
        ),
        5 | 6 => ("rename", fs::rename(place.path(other), &path)),
        7 => ("link", symlink(place.path(other), &path)),
        8 => {
            drop(fs::remove_file(place.path("new")));
            let target = format!("./{other}");
            let made = symlink(target, place.path("new"));
            ("relink", made.and_then(|()| fs::rename(place.path("new"), &path)))
        }
        _ => ("remove", fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path))),
    };
    format!("{what} {name} ({other}): {result:?}")
}
