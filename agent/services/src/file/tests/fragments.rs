//! Directories of files, which count together.

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn put(folder: &tempfile::TempDir, name: &str, text: &[u8]) {
    io::Write::write_all(&mut fs::File::create(folder.path().join(name)).unwrap(), text).unwrap();
}

#[test]
fn a_directory_is_read_by_the_names_of_its_files() {
    let folder = folder();
    put(&folder, "20-b.yml", b"b");
    put(&folder, "10-a.yaml", b"a");
    for other in [".hidden.yaml", "old.yaml~", "README.md", ".10-a.yaml.swp"] {
        put(&folder, other, b"nothing");
    }

    let read = texts(folder.path()).unwrap();

    let read: Vec<_> = read.iter().map(|of| of.text.as_str()).collect();
    assert_eq!(read, ["a", "b"]);
}

#[test]
fn one_file_is_read_whatever_it_is_called() {
    let folder = folder();
    put(&folder, "mesh", b"services: []\n");

    let read = texts(&folder.path().join("mesh")).unwrap();

    assert_eq!(read, [named(folder.path().join("mesh").to_str().unwrap(), "services: []\n")]);
}

#[test]
fn what_cannot_be_read_is_told_of_each() {
    let folder = folder();
    put(&folder, "a.yaml", b"one\ntwo\nth\xffree\n");
    put(&folder, "b.yaml", &vec![b'#'; MAX_BYTES + 1]);
    fs::create_dir(folder.path().join("c.yaml")).unwrap();
    put(&folder, "d.yaml", b"services: []\n");

    let told = texts(folder.path()).unwrap_err().to_string();

    let at = |name: &str| folder.path().join(name).display().to_string();
    let expected = [
        format!("{}:3: the file: found bytes that are no text: expected UTF-8", at("a.yaml")),
        format!("{}: the file: found more than that: expected at most 16 MiB in all", at("b.yaml")),
        format!("{}: the file: found something else: expected a file", at("c.yaml")),
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_not_there_is_told() {
    let folder = folder();
    let gone = folder.path().join("gone.yaml");

    let empty = texts(folder.path()).unwrap_err().to_string();
    let gone = texts(&gone).unwrap_err().to_string();

    assert!(empty.ends_with(": found none: expected files that end in .yaml or .yml"), "{empty}");
    assert!(gone.contains("gone.yaml: the file: found No such file"), "{gone}");
}

#[test]
fn fragments_count_together() {
    let read = parse(
        &[
            named(
                "a.yaml",
                "services:\n- {host: a.example, port: 80, identity: ns/a/sa/a, gateways: two}\n",
            ),
            named("b.yaml", "trust_domain: b.example\ngateways: [{address: gw, name: two}]\n"),
            named("c.yaml", "# nothing in it yet\n"),
            named("d.yaml", "gateways: gw3\nservices: []\ninbound: [{port: 1, to: 2}]\n"),
        ],
        "cluster.local",
    )
    .unwrap();

    assert_eq!(read.gateways.len(), 2);
    assert_eq!(read.services.first().unwrap().identities, ["spiffe://b.example/ns/a/sa/a"]);
    assert_eq!(read.inbound.len(), 1);
}

#[test]
fn fragments_do_not_say_the_same_thing_twice() {
    let service = "services:\n- {host: a.example, port: 80, identity: ns/a/sa/a}\n";
    let problems = parse(
        &[
            named("a.yaml", &format!("gateways: gw\nlocality: a\n{service}")),
            named("b.yaml", &format!("gateways: gw\nlocality: a\nforwarder:\n{service}")),
            named("c.yaml", "services: {\n"),
        ],
        "cluster.local",
    )
    .unwrap_err();

    let told = problems.to_string();
    let expected = [
        "b.yaml:1: gateways: found another gateway with the name gw: expected a name of its own for each",
        "b.yaml:2: locality: found it again, after a.yaml:2: expected it in one place",
        "b.yaml:3: forwarder: found nothing: expected a mapping of keys to values",
    ];
    let (broken, others): (Vec<_>, Vec<_>) =
        told.lines().partition(|line| line.starts_with("c.yaml"));
    assert_eq!(others, expected, "what is not there cannot be said to be missing or twice");
    assert_eq!(broken.len(), 1, "{told}");
}

#[test]
fn a_service_in_two_fragments_is_one_too_many() {
    let service = "services:\n- {host: a.example, port: 80, identity: ns/a/sa/a}\n";
    let problems = parse(
        &[named("a.yaml", &format!("gateways: gw\n{service}")), named("b.yaml", service)],
        "cluster.local",
    )
    .unwrap_err();

    assert_eq!(
        problems.to_string(),
        "b.yaml:2: services[0].port: found a.example:80 again, after a.yaml:3: \
         expected every port of a subset of a host once"
    );
}
