//! Directories that come and go, links that move.

use super::*;
use crate::files::plan::Role;

#[tokio::test]
async fn a_file_is_told_of_when_the_directories_it_waits_for_have_come() {
    let place = Place::new();
    let mut watch = place.watch("run/secrets/tokens/istio-token");

    not_told(&mut watch, || place.mkdir("run")).await;
    not_told(&mut watch, || place.mkdir("run/secrets/tokens")).await;
    place.write("run/secrets/tokens/istio-token", "token");
    told(&mut watch).await;

    fs::remove_dir_all(place.path("run")).unwrap();
    told(&mut watch).await;

    place.mkdir("run/secrets/tokens");
    place.write("run/secrets/tokens/istio-token", "all at once");
    told(&mut watch).await;

    place.rename("run/secrets", "run/away");
    told(&mut watch).await;
    not_told(&mut watch, || place.write("run/away/tokens/istio-token", "not here any more")).await;

    place.rename("run/away", "run/secrets");
    told(&mut watch).await;
    place.write("run/secrets/tokens/istio-token", "here again");
    told(&mut watch).await;
}

#[tokio::test]
async fn a_linked_file_is_told_of_at_both_ends() {
    let place = Place::new();
    place.mkdir("deep/er");
    place.write("deep/er/one", "1");
    place.write("deep/two", "2");
    place.link("deep/er/../er/one", "token");
    let mut watch = place.watch("token");

    place.write("deep/er/one", "in place");
    told(&mut watch).await;

    place.replace("deep/er/one", "renamed over");
    told(&mut watch).await;

    place.relink("deep/two", "token");
    told(&mut watch).await;

    not_told(&mut watch, || place.write("deep/er/one", "not ours any more")).await;
    place.write("deep/two", "ours");
    told(&mut watch).await;

    not_told(&mut watch, || place.relink("deep/er/../two", "token")).await;
    place.write("deep/two", "still ours by another way");
    told(&mut watch).await;
}

#[tokio::test]
async fn a_linked_directory_is_told_of_when_the_link_moves() {
    let place = Place::new();
    for version in ["v1", "v2"] {
        place.mkdir(version);
        place.write(&format!("{version}/key.pem"), version);
    }
    let absolute = place.path("v1");
    symlink(&absolute, place.path("certs")).unwrap();
    let mut watch = place.watch("certs/key.pem");

    place.write("v1/key.pem", "in place");
    told(&mut watch).await;

    place.relink("v2", "certs");
    told(&mut watch).await;

    not_told(&mut watch, || place.write("v1/key.pem", "not ours any more")).await;
    place.replace("v2/key.pem", "ours");
    told(&mut watch).await;
}

#[tokio::test]
async fn links_to_links_are_followed_to_what_does_not_exist_yet() {
    let place = Place::new();
    place.mkdir("a");
    place.link("b/../a/c", "token");
    place.link("a", "b");
    place.link("../later/d", "a/c");
    let mut watch = place.watch("token");

    not_told(&mut watch, || place.mkdir("later")).await;
    place.write("later/d", "at last");
    told(&mut watch).await;

    place.remove("b");
    told(&mut watch).await;
}

#[tokio::test]
async fn a_volume_that_kubelet_swaps_is_told_of_once_a_swap() {
    let place = Place::new();
    let version = |name: &str| {
        place.mkdir(name);
        place.write(&format!("{name}/cert"), name);
        place.write(&format!("{name}/key"), name);
    };
    version("..v1");
    place.link("..v1", "..data");
    place.link("..data/cert", "cert");
    place.link("..data/key", "key");
    let mut watch = Watch::new([place.path("cert"), place.path("key")]);

    for (old, new) in [("..v1", "..v2"), ("..v2", "..v3"), ("..v3", "..v4")] {
        not_told(&mut watch, || version(new)).await;
        place.relink(new, "..data");
        told(&mut watch).await;
        assert_eq!(place.read("cert").unwrap(), new);

        not_told(&mut watch, || fs::remove_dir_all(place.path(old)).unwrap()).await;
    }
}

#[tokio::test]
async fn links_that_lead_nowhere_are_given_up_and_told_of_when_they_are_mended() {
    let place = Place::new();
    place.link("b", "a");
    place.link("a", "b");
    place.link("self", "self");
    place.link("grows/x", "grows");
    place.link("./grows2/../grows2/y", "grows2");
    for name in ["a", "self", "grows", "grows2"] {
        let mut watch = place.watch(name);
        not_told(&mut watch, || place.write("noise", name)).await;

        place.replace(name, "mended");

        told(&mut watch).await;
        assert_eq!(place.read(name).unwrap(), "mended");
    }
}

#[tokio::test]
async fn a_file_in_the_place_of_a_directory_and_back_is_told_of() {
    let place = Place::new();
    place.mkdir("certs");
    place.write("certs/key.pem", "key");
    let mut watch = place.watch("certs/key.pem");

    place.rename("certs", "aside");
    place.write("certs", "a file");
    told(&mut watch).await;

    place.remove("certs");
    place.rename("aside", "certs");
    told(&mut watch).await;

    place.remove("certs/key.pem");
    place.mkdir("certs/key.pem");
    told(&mut watch).await;
}

#[tokio::test]
async fn a_path_to_a_directory_means_all_that_is_in_it() {
    let place = Place::new();
    place.mkdir("roots");
    place.link("roots", "linked");
    for path in ["roots", "linked"] {
        let mut watch = place.watch(path);

        place.write("roots/a.pem", path);
        told(&mut watch).await;
        place.write("roots/a.pem", "in place");
        told(&mut watch).await;
        not_told(&mut watch, || place.write("beside", path)).await;
        place.remove("roots/a.pem");
        told(&mut watch).await;
    }
}

#[test]
fn every_directory_on_every_way_is_planned_for() {
    let place = Place::new();
    place.mkdir("a/b");
    place.mkdir("c");
    place.link("a/b/../b", "link");
    place.link("../../c/file", "a/b/token");
    let top = place.0.path().canonicalize().unwrap();

    let plan = Plan::of(&[place.path("link/token")]);

    let inside: Vec<_> = plan
        .directories
        .values()
        .filter_map(|directory| {
            let path = directory.path.strip_prefix(&top).ok()?;
            let names = directory.names.iter().map(|(name, role)| (name.to_str().unwrap(), *role));
            Some((path.to_str().unwrap(), names.collect::<Vec<_>>()))
        })
        .collect();
    for expected in [
        ("", vec![("a", Role::Way), ("c", Role::Way), ("link", Role::Way)]),
        ("a", vec![("b", Role::Way)]),
        ("a/b", vec![("token", Role::Way)]),
        ("c", vec![("file", Role::Goal)]),
    ] {
        assert!(inside.contains(&expected), "{expected:?} in {inside:?}");
    }
    assert_eq!(inside.len(), 4);
    let above = top.components().count();
    assert_eq!(plan.directories.len(), above + 3, "and those above");
}
