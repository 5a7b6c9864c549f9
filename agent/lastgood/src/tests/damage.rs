//! Files that are not what was written.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// States that were accepted, one after the other, and the log of them.
async fn written() -> (TempDir, Vec<Option<State>>) {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let mut states = vec![None];
    let pushes = [
        Push::delta(&[("a", b"1"), ("b", b"1")]),
        Push::delta(&[("a", b"2"), ("c", b"2")]).removing(&["b"]),
        Push::whole(&[("a", b"3"), ("d", b"3")]),
        Push::delta(&[("d", b"4"), ("e", b"4")]),
    ];
    for push in pushes {
        push.accepted(&book, "v").await;
        states.push(kept(&book).await);
    }
    shelf.closed().await;
    (directory, states)
}

async fn found(directory: &Path) -> Option<State> {
    let shelf = Shelf::open(options(directory));
    let book = shelf.book(KEY).await;
    let found = kept(&book).await;
    // It goes on, whatever there was.
    Push::delta(&[("new", b"9")]).accepted(&book, "v").await;
    assert_eq!(kept(&book).await.unwrap()["new"], value("new", b"9"));
    shelf.closed().await;
    found
}

fn put(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).ok();
    std::io::Write::write_all(&mut fs::File::create(path).unwrap(), bytes).unwrap();
}

#[tokio::test]
async fn a_log_cut_at_any_length_is_one_of_the_states_that_were() {
    let (directory, states) = written().await;
    let path = log(directory.path());
    let whole = fs::read(&path).unwrap();
    let mut seen = 0;
    for length in 0..=whole.len() {
        put(&path, &whole[..length]);

        let found = found(directory.path()).await;

        let at = states.iter().position(|state| *state == found);
        let at = at.unwrap_or_else(|| panic!("cut at {length}: {found:?}"));
        assert!(at >= seen, "the longer the later: {length}");
        seen = at;
    }
    assert_eq!(seen, states.len() - 1);
}

#[tokio::test]
async fn a_flipped_byte_anywhere_costs_what_it_hit_and_makes_nothing_false() {
    let (directory, states) = written().await;
    let path = log(directory.path());
    let whole = fs::read(&path).unwrap();
    let last = states.last().unwrap().clone().unwrap();
    for at in 0..whole.len() {
        for bit in [1 << (at % 8)] {
            let mut bad = whole.clone();
            bad[at] ^= bit;
            put(&path, &bad);

            let found = found(directory.path()).await;

            let earlier = states.contains(&found);
            let some = found.iter().flatten().all(|(name, body)| last.get(name) == Some(body));
            assert!(earlier || some, "byte {at}: {found:?}");
        }
    }
}

#[tokio::test]
async fn a_damaged_middle_costs_only_what_was_in_it() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    let all: Vec<(String, Vec<u8>)> =
        (0..20_u8).map(|number| (format!("name-{number:02}"), vec![number; 500])).collect();
    for one in &all {
        Push { resources: vec![one.clone()], ..Push::delta(&[]) }.accepted(&book, "v").await;
    }
    shelf.closed().await;
    let path = log(directory.path());
    let whole = fs::read(&path).unwrap();
    let needle = [7; 500];
    let at = whole.windows(500).position(|window| window == needle).unwrap();
    // The body, the trailer, the head.
    for hit in [at + 50, at + 530, at - 80] {
        let mut bad = whole.clone();
        bad[hit] ^= 0xff;
        put(&path, &bad);

        let found = found(directory.path()).await.unwrap();

        assert_eq!(found.len(), 19, "{hit}");
        assert!(!found.contains_key("name-07"));
    }
}

#[tokio::test]
async fn what_is_not_our_log_is_set_aside_and_nothing_of_it_is_answered() {
    let (elsewhere, _) = written().await;
    let good = fs::read(log(elsewhere.path())).unwrap();
    let retitled = |change: fn(&mut Vec<u8>)| {
        let (title, length) = crate::format::Title::decode(&good).unwrap();
        let mut begin = title.encode();
        change(&mut begin);
        let body = begin.len() - 4;
        let crc = crc32fast::hash(&begin[..body]);
        begin[body..].copy_from_slice(&crc.to_le_bytes());
        [&begin, &good[length..]].concat()
    };
    let cases = [
        ("newer format", retitled(|title| title[8] += 1)),
        ("older format", retitled(|title| title[8] -= 1)),
        ("another key", retitled(|title| title[25] ^= 1)),
        (
            "another type",
            retitled(|title| {
                let at = title.len() - 6;
                title[at] ^= 1;
            }),
        ),
        ("text", b"hello".to_vec()),
        ("empty", Vec::new()),
    ];
    for (case, bytes) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = log(directory.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        put(&path, &bytes);

        assert_eq!(found(directory.path()).await, None, "{case}");

        assert_eq!(names_in(path.parent().unwrap()), ["cluster.damaged", "cluster.log"], "{case}");
        assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes, "{case}");
    }
}

#[tokio::test]
async fn a_link_or_a_directory_in_the_place_of_a_log_is_set_aside() {
    let (elsewhere, _) = written().await;
    let other = log(elsewhere.path());
    let before = fs::read(&other).unwrap();
    for link in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = log(directory.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if link {
            symlink(&other, &path).unwrap();
        } else {
            fs::create_dir(&path).unwrap();
        }

        assert_eq!(found(directory.path()).await, None);

        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
    assert_eq!(fs::read(&other).unwrap(), before);
}

#[tokio::test]
async fn directories_and_files_are_the_owners_alone() {
    let (directory, _) = written().await;
    let path = log(directory.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;

    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&directory.path().join("lastgood")), 0o700);
}

#[tokio::test]
async fn a_directory_that_others_write_to_is_told_of_and_neither_read_nor_written() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, _) = written().await;
    let before = fs::read(log(directory.path())).unwrap();
    let inside = directory.path().join("lastgood");
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).unwrap();

    let shelf = Shelf::open(options(directory.path()));
    let book = shelf.book(KEY).await;
    let trouble = shelf.standing().borrow().trouble.clone().unwrap();
    assert!(trouble.contains("chmod it to 700"), "{trouble}");
    assert_eq!(kept(&book).await, None);
    Push::delta(&[("a", b"9")]).accepted(&book, "v").await;
    assert_eq!(kept(&book).await, None);
    shelf.closed().await;

    assert_eq!(fs::read(log(directory.path())).unwrap(), before);
}

#[tokio::test]
async fn a_link_in_the_place_of_a_book_is_not_followed() {
    let (elsewhere, _) = written().await;
    let other = log(elsewhere.path());
    let before = fs::read(&other).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("lastgood");
    fs::create_dir(&inside).unwrap();
    symlink(other.parent().unwrap(), place::book(&inside, KEY)).unwrap();

    let shelf = Shelf::open(options(directory.path()));
    let book = shelf.book(KEY).await;
    assert_eq!(kept(&book).await, None);
    Push::delta(&[("a", b"9")]).accepted(&book, "v").await;
    shelf.closed().await;

    assert_eq!(fs::read(&other).unwrap(), before);
}

proptest::proptest! {
    #[test]
    fn any_bytes_behind_a_title_are_read_without_harm(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        marks in proptest::collection::vec(0_usize..600, 0..8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = log(directory.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let title = crate::format::Title { salt: 7, key: KEY.into(), type_url: CLUSTER.into() };
        let mut bytes = bytes;
        for at in marks {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(&crate::format::MARK);
            }
        }
        put(&path, &[title.encode(), bytes].concat());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

        proptest::prop_assert_eq!(runtime.block_on(found(directory.path())), None);
    }
}
