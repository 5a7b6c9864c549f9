//! A file of revocation lists that comes, changes, is damaged and goes.

use super::{
    client::{Agent, Mesh, crl, names, roots, sotw, unpack},
    files::Folder,
};
use crate::Options;

fn agent(folder: &Folder) -> Agent {
    Agent::with(Options { crl: Some(folder.path("crl")), ..Options::default() })
}

#[tokio::test]
async fn lists_are_served_with_the_roots_while_their_file_is_there() {
    let (mesh, folder) = (Mesh::new(), Folder::new());
    let agent = agent(&folder);
    agent.publish(mesh.identity());
    let mut stream = agent.sotw().await;
    stream.send(sotw("ROOTCA default", "")).await;
    let secrets = unpack(&stream.receive().await);
    let secrets = if names(&secrets) == ["default"] {
        // The roots wait until it is known whether there are lists.
        unpack(&stream.receive().await)
    } else {
        secrets
    };
    assert_eq!(crl(&secrets[0]), None);

    for serial in [7, 8] {
        folder.write("crl", &mesh.crl(serial));
        let secrets = unpack(&stream.receive().await);
        assert_eq!(names(&secrets), ["ROOTCA"]);
        assert_eq!(roots(&secrets[0]), mesh.root_pem().as_bytes());
    }
    let last = mesh.crl(9);
    folder.write("crl", &last);
    assert_eq!(crl(&unpack(&stream.receive().await)[0]), Some(last.clone().into_bytes()));

    folder.write("crl", last.split_at(last.len() / 2).0);
    // The last good one is kept with other roots too.
    let both = mesh.roots().merge(&Mesh::named("another").roots()).unwrap();
    agent.trust(both.clone());
    let secrets = unpack(&stream.receive().await);
    assert_eq!(roots(&secrets[0]), both.pem().as_bytes());
    assert_eq!(crl(&secrets[0]), Some(last.into_bytes()));

    folder.remove("crl");
    let secrets = unpack(&stream.receive().await);
    assert_eq!(names(&secrets), ["ROOTCA"]);
    assert_eq!(crl(&secrets[0]), None);
}

#[tokio::test]
async fn lists_that_are_there_at_the_start_are_in_the_first_answer() {
    let (mesh, folder) = (Mesh::new(), Folder::new());
    folder.write("crl", &mesh.crl(7));
    let agent = agent(&folder);
    agent.publish(mesh.identity());
    let mut stream = agent.sotw().await;
    stream.send(sotw("ROOTCA", "")).await;
    assert!(crl(&unpack(&stream.receive().await)[0]).is_some());
    assert_eq!(agent.counts.answers(), 1);
}

#[tokio::test]
async fn roots_of_files_have_the_lists_if_any_of_them_has_made_one() {
    let (mesh, stranger, folder) = (Mesh::new(), Mesh::named("stranger"), Folder::new());
    folder.write("crl", &mesh.crl(7));
    folder.write("ours", &mesh.root_pem());
    folder.write("theirs", &stranger.root_pem());
    folder.write("both", &format!("{}{}", stranger.root_pem(), mesh.root_pem()));
    let agent = agent(&folder);
    agent.trust(stranger.roots());
    let mut rootca = agent.sotw().await;
    rootca.send(sotw("ROOTCA", "")).await;
    assert!(crl(&unpack(&rootca.receive().await)[0]).is_some(), "the mesh's own have them always");

    for (name, served) in [("ours", true), ("theirs", false), ("both", true)] {
        let mut stream = agent.sotw().await;
        stream.send(sotw(&format!("file-root:{}", folder.path(name).display()), "")).await;
        let secrets = unpack(&stream.receive().await);
        assert_eq!(crl(&secrets[0]).is_some(), served, "{name}");
    }
}
