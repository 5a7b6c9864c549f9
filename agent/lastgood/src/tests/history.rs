//! What can be shown of what was.

use super::*;

#[tokio::test]
async fn the_last_versions_are_shown_with_what_was_in_them() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1"), ("b", b"1")]).accepted(&book, "v1").await;
    Push::delta(&[("b", b"2"), ("c", b"2")]).removing(&["a"]).accepted(&book, "v2").await;
    Push::whole(&[("c", b"2")]).accepted(&book, "v3").await;
    kept(&book).await;

    // Beside the running one.
    let nodes = look::nodes(&directory.path().join("lastgood")).unwrap();

    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].key, KEY);
    let shown = &nodes[0].types[0];
    assert_eq!(shown.type_url, CLUSTER);
    let versions: Vec<_> = shown
        .versions
        .iter()
        .map(|of| (of.number, of.version.as_str(), of.resources, of.added, of.changed, of.removed))
        .collect();
    assert_eq!(
        versions,
        [(1, "v1", 2, 2, 0, 0), (2, "v2", 2, 1, 1, 1), (3, "v3", 1, 0, 0, 1)],
        "an Any is not what a Resource was, so c was written again, but it has not changed"
    );
    for (number, expected) in [
        (1, state_of(&[("a", b"1"), ("b", b"1")])),
        (2, state_of(&[("b", b"2"), ("c", b"2")])),
        (3, state_of(&[("c", b"2")])),
    ] {
        let resources = shown.resources(number).unwrap();
        let found: State =
            resources.iter().map(|of| (of.name.clone(), of.value(1000).unwrap())).collect();
        assert_eq!(found, expected, "{number}");
    }
    assert!(shown.resources(4).is_err());
    assert!(shown.resources(3).unwrap()[0].value(2).is_err());
    assert!(look::nodes(&directory.path().join("nowhere")).is_err());
}

#[tokio::test]
async fn a_compacted_log_shows_the_versions_that_are_to_be_kept() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    for round in 0..50_u8 {
        Push::delta(&[("a", &[round; 400]), ("b", b"same")]).accepted(&book, "v").await;
        kept(&book).await;
    }
    shelf.closed().await;

    let nodes = look::nodes(&directory.path().join("lastgood")).unwrap();

    let shown = &nodes[0].types[0];
    assert!(shown.versions.len() >= 3 && shown.versions.len() < 30, "{}", shown.versions.len());
    for version in shown.versions.iter().rev().take(3) {
        let resources = shown.resources(version.number).unwrap();
        let round = u8::try_from(version.number).unwrap() - 1;
        assert_eq!(resources[0].value(1000).unwrap(), value("a", &[round; 400]));
    }
}

#[tokio::test]
async fn what_came_again_as_it_was_is_not_counted_as_changed() {
    let (directory, shelf) = place();
    let book = shelf.book(KEY).await;
    Push::delta(&[("a", b"1"), ("b", b"1")]).accepted(&book, "v1").await;
    let one = Push::delta(&[("a", b"1"), ("b", b"1")]).to(&book, "v2").await;
    let other = Push::delta(&[("a", b"1"), ("b", b"2")]).to(&book, "v3").await;
    one.accepted();
    other.accepted();
    kept(&book).await;

    let nodes = look::nodes(&directory.path().join("lastgood")).unwrap();

    let versions = nodes[0].types[0].versions.iter();
    let counts: Vec<_> = versions.map(|of| (of.added, of.changed, of.removed)).collect();
    assert_eq!(counts, [(2, 0, 0), (0, 0, 0), (0, 1, 0)]);
}

#[tokio::test]
async fn what_is_pushed_twice_at_once_as_it_was_is_not_written_again() {
    for whole in [false, true] {
        let (directory, shelf) = place();
        let book = shelf.book(KEY).await;
        let size = || fs::metadata(log(directory.path())).unwrap().len();
        let body = vec![1; 20 << 10];
        let push = |resources: &[(&str, &[u8])]| Push { whole, ..Push::delta(resources) };
        let world = || push(&[("a", &body), ("b", &body), ("c", &body)]);
        world().accepted(&book, "v1").await;
        kept(&book).await;
        let before = size();

        let answer = world().to(&book, "v2").await;
        let again = world().to(&book, "v3").await;
        answer.accepted();
        again.accepted();
        assert_eq!(kept(&book).await.unwrap().len(), 3);
        assert!(size() < before + 1000, "{whole} {before} {}", size());

        // What is under way may change it, or take it away, or be refused.
        let changes = push(&[("a", b"2"), ("b", &body)]).to(&book, "v4").await;
        let back = world().to(&book, "v5").await;
        changes.accepted();
        back.accepted();
        assert_eq!(kept(&book).await, Some(state_of(&[("a", &body), ("b", &body), ("c", &body)])));
        let takes = push(&[("b", &body)]).removing(&["a"]).to(&book, "v6").await;
        let back = world().to(&book, "v7").await;
        takes.accepted();
        back.accepted();
        let refused = push(&[("a", b"2")]).to(&book, "v8").await;
        let as_it_was = world().to(&book, "v9").await;
        drop(refused);
        as_it_was.accepted();
        let expected = Some(state_of(&[("a", &body), ("b", &body), ("c", &body)]));
        assert_eq!(kept(&book).await, expected);
        assert_eq!(shelf.standing().borrow().trouble, None);
        assert!(!shelf.standing().borrow().books[KEY][CLUSTER].behind);
        shelf.closed().await;
        let book = Shelf::open(options(directory.path())).book(KEY).await;
        assert_eq!(kept(&book).await, expected);
    }
}
