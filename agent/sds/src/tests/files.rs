//! Secrets made of files that are replaced, damaged and taken away while they are served.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use tonic::Code;

use super::client::{Agent, Mesh, chain, delta, key, names, roots, sotw, unpack, unpack_delta};

/// Files as somebody else keeps them.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes over what is there, as an editor would not.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::File::create(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Puts a new file in the place of the old one.
    fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn pair(&self) -> String {
        format!("file-cert:{}~{}", self.path("chain").display(), self.path("key").display())
    }

    fn root(&self) -> String {
        format!("file-root:{}", self.path("root").display())
    }

    /// Another version of a Kubernetes volume, switched to in one step.
    fn switch(&self, version: &str, files: &[(&str, &str)]) {
        fs::create_dir(self.path(version)).unwrap();
        for (name, text) in files {
            self.write(&format!("{version}/{name}"), text);
            if !self.path(name).is_symlink() {
                symlink(Path::new("..data").join(name), self.path(name)).unwrap();
            }
        }
        symlink(version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }
}

/// A chain and its key.
fn pem(mesh: &Mesh) -> (String, String) {
    let identity = mesh.identity();
    (identity.chain.pem().to_owned(), identity.key.pem().to_owned())
}

#[tokio::test]
async fn a_pair_and_roots_are_served_from_files_and_again_when_they_are_replaced() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    let (first, second) = (pem(&mesh), pem(&mesh));
    folder.write("chain", &format!("a certificate\n{}", first.0));
    folder.write("key", &first.1);
    folder.write("root", &mesh.root_pem());
    let (mut whole, mut changes) = (agent.sotw().await, agent.delta().await);

    whole.send(sotw(&folder.pair(), "")).await;
    let secrets = unpack(&whole.receive().await);
    assert_eq!(names(&secrets), [folder.pair()]);
    assert_eq!(chain(&secrets[0]), first.0.as_bytes());
    assert_eq!(key(&secrets[0]), first.1.as_bytes());
    changes.send(delta(&folder.root(), "")).await;
    let secrets = unpack_delta(&changes.receive().await);
    assert_eq!(names(&secrets), [folder.root()]);
    assert_eq!(roots(&secrets[0]), mesh.root_pem().as_bytes());

    folder.replace("key", &second.1);
    folder.replace("chain", &second.0);
    let secrets = unpack(&whole.receive().await);
    assert_eq!(chain(&secrets[0]), second.0.as_bytes());
    assert_eq!(key(&secrets[0]), second.1.as_bytes());

    let other = Mesh::new();
    folder.write("root", &other.root_pem());
    let secrets = unpack_delta(&changes.receive().await);
    assert_eq!(roots(&secrets[0]), other.root_pem().as_bytes());
}

#[tokio::test]
async fn a_volume_that_is_switched_is_seen_whole() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    let mut stream = agent.sotw().await;
    stream.send(sotw(&folder.pair(), "")).await;
    // From nothing, three times: what is behind the links is new each time.
    for version in ["..1", "..2", "..3"] {
        let (chain_pem, key_pem) = pem(&mesh);
        folder.switch(version, &[("chain", &chain_pem), ("key", &key_pem)]);
        let secrets = unpack(&stream.receive().await);
        assert_eq!(chain(&secrets[0]), chain_pem.as_bytes());
        assert_eq!(key(&secrets[0]), key_pem.as_bytes());
    }
    assert_eq!(agent.counts.answers(), 3);
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed_and_so_is_its_new_target() {
    let (folder, elsewhere, agent) = (Folder::new(), Folder::new(), Agent::start());
    let meshes = [Mesh::new(), Mesh::new(), Mesh::new()];
    elsewhere.write("one", &meshes[0].root_pem());
    elsewhere.write("two", &meshes[1].root_pem());
    symlink(elsewhere.path("one"), folder.path("root")).unwrap();
    let mut stream = agent.sotw().await;
    stream.send(sotw(&folder.root(), "")).await;
    assert_eq!(roots(&unpack(&stream.receive().await)[0]), meshes[0].root_pem().as_bytes());

    symlink(elsewhere.path("two"), folder.path("new")).unwrap();
    fs::rename(folder.path("new"), folder.path("root")).unwrap();
    assert_eq!(roots(&unpack(&stream.receive().await)[0]), meshes[1].root_pem().as_bytes());

    elsewhere.replace("two", &meshes[2].root_pem());
    assert_eq!(roots(&unpack(&stream.receive().await)[0]), meshes[2].root_pem().as_bytes());
}

#[tokio::test]
async fn what_is_half_written_or_does_not_fit_is_not_served_and_the_old_stays() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    let (first, second) = (pem(&mesh), pem(&mesh));
    folder.write("chain", &first.0);
    folder.write("key", &first.1);
    let (mut stream, mut late) = (agent.sotw().await, agent.sotw().await);
    stream.send(sotw(&folder.pair(), "")).await;
    stream.receive().await;

    let damages = [
        ("chain", second.0.split_at(second.0.len() / 2).0),
        ("chain", ""),
        ("chain", &second.0),
        ("key", "-----BEGIN PRIVATE KEY-----\nno"),
    ];
    for (name, text) in damages {
        let before = agent.counts.file_failures();
        folder.write(name, text);
        agent.until(|counts| counts.file_failures() > before).await;
    }
    let before = agent.counts.file_failures();
    folder.remove("key");
    agent.until(|counts| counts.file_failures() > before).await;
    late.send(sotw(&folder.pair(), "")).await;
    assert_eq!(chain(&unpack(&late.receive().await)[0]), first.0.as_bytes());

    folder.write("key", &second.1);
    assert_eq!(chain(&unpack(&stream.receive().await)[0]), second.0.as_bytes());
    assert_eq!(chain(&unpack(&late.receive().await)[0]), second.0.as_bytes());
    assert_eq!(agent.counts.answers(), 4);
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_waited_for_beside_others_that_are() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    agent.publish(mesh.identity());
    let root = format!("file-root:{}", folder.path("deep/er/root").display());
    let mut stream = agent.sotw().await;
    stream.send(sotw(&format!("default {root}"), "")).await;
    assert_eq!(names(&unpack(&stream.receive().await)), ["default"]);
    agent.until(|counts| counts.file_failures() == 1).await;

    fs::create_dir(folder.path("deep")).unwrap();
    fs::create_dir(folder.path("deep/er")).unwrap();
    folder.write("deep/er/root", &mesh.root_pem());

    let secrets = unpack(&stream.receive().await);
    assert_eq!(names(&secrets), [root]);
    assert_eq!(roots(&secrets[0]), mesh.root_pem().as_bytes());
}

#[tokio::test]
async fn a_file_that_is_touched_or_written_the_same_pushes_nothing() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    folder.write("root", &mesh.root_pem());
    folder.write("other", &mesh.root_pem());
    let (mut stream, mut witness) = (agent.sotw().await, agent.sotw().await);
    stream.send(sotw(&folder.root(), "")).await;
    let first = stream.receive().await;
    let other = format!("file-root:{}", folder.path("other").display());
    witness.send(sotw(&other, "")).await;
    witness.receive().await;

    fs::set_permissions(folder.path("root"), fs::Permissions::from_mode(0o600)).unwrap();
    folder.write("root", &format!("# the same roots\n{}", mesh.root_pem()));
    folder.replace("root", &mesh.root_pem());
    // Once a later change of another file is seen, so are these.
    folder.replace("other", &Mesh::new().root_pem());
    witness.receive().await;

    let next = Mesh::new();
    folder.replace("root", &next.root_pem());
    let pushed = stream.receive().await;
    assert_eq!(roots(&unpack(&pushed)[0]), next.root_pem().as_bytes());
    assert_ne!(pushed.version_info, first.version_info);
    assert_eq!(agent.counts.answers(), 4);
}

#[tokio::test]
async fn streams_share_a_file_and_it_is_forgotten_with_the_last() {
    let (mesh, folder, agent) = (Mesh::new(), Folder::new(), Agent::start());
    folder.write("root", &mesh.root_pem());
    let (mut one, mut two) = (agent.sotw().await, agent.delta().await);
    one.send(sotw(&folder.root(), "")).await;
    let first = one.receive().await;
    two.send(delta(&folder.root(), "")).await;
    two.receive().await;
    assert_eq!(agent.counts.files(), 1);

    one.send(sotw("", &first.nonce)).await;
    let other = Mesh::new();
    folder.replace("root", &other.root_pem());
    let secrets = unpack_delta(&two.receive().await);
    assert_eq!(roots(&secrets[0]), other.root_pem().as_bytes(), "one goes, the other is served");
    assert_eq!(agent.counts.files(), 1);

    drop(two);
    agent.until(|counts| counts.files() == 0).await;
    folder.remove("root");
    // Nothing is remembered: whoever asks now waits.
    one.send(sotw(&folder.root(), "")).await;
    agent.until(|counts| counts.file_failures() == 1).await;
    folder.write("root", &mesh.root_pem());
    assert_eq!(roots(&unpack(&one.receive().await)[0]), mesh.root_pem().as_bytes());
}

#[tokio::test]
async fn more_files_than_anybody_needs_end_the_stream() {
    let agent = Agent::start();
    let (greedy, mut other) = (agent.delta().await, agent.delta().await);
    let many: Vec<String> = (0..128).map(|index| format!("file-root:/nowhere/{index}")).collect();
    greedy.send(delta(&many.join(" "), "")).await;
    agent.until(|counts| counts.files() == 128).await;

    other.send(delta("file-root:/one/more", "")).await;

    let refusal = other.end().await.unwrap();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("at most 128 secrets"), "{refusal:?}");
    drop(greedy);
    agent.until(|counts| counts.files() == 0).await;
}
