//! A whole mesh and its bundle.

use std::fs;
use std::time::SystemTime;

use hawser_harness::bundle::{Damage, FILES};
use hawser_harness::mesh::{ACCOUNT, Mesh, NAMESPACE};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

#[tokio::test]
async fn a_bundle_is_what_istiod_takes() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(dir.path()).await.unwrap();
    let read = |name: &str| fs::read_to_string(mesh.bundle_dir.join(name)).unwrap();

    let token = read("istio-token");
    assert_eq!(token.trim(), token);
    let account = mesh.istiod.tokens().verify(&token, SystemTime::now()).unwrap();
    assert_eq!(account, (NAMESPACE.to_owned(), ACCOUNT.to_owned()));
    assert_eq!(read("root-cert.pem"), mesh.istiod.ca().root_pem());
    assert_eq!(read("hosts"), "127.0.0.1 istiod.istio-system.svc\n");
    let address = mesh.istiod.discovery_address();
    assert!(read("cluster.env").contains(&format!("CA_ADDR='{address}'\n")));
    assert!(read("mesh.yaml").contains(&format!("discoveryAddress: {address}\n")));
    assert!(mesh.service.vip.ip().is_loopback());
}

#[tokio::test]
async fn a_tar_has_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(dir.path()).await.unwrap();
    let path = dir.path().join("bundle.tar");
    mesh.bundle.write_tar(&path).unwrap();
    let mut archive = tar::Archive::new(fs::File::open(&path).unwrap());
    archive.unpack(dir.path().join("unpacked")).unwrap();
    for name in FILES {
        let one = fs::read(dir.path().join("unpacked").join(name)).unwrap();
        assert_eq!(one, fs::read(mesh.bundle_dir.join(name)).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn every_damage_is_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::start(dir.path()).await.unwrap();
    let whole = |name| fs::read(mesh.bundle_dir.join(name)).unwrap();
    let now = SystemTime::now();
    for (number, damage) in [
        Damage::Missing("mesh.yaml"),
        Damage::Empty("hosts"),
        Damage::Unknown("notes.txt"),
        Damage::TokenTruncated,
        Damage::TokenExpired,
        Damage::TokenAudience,
        Damage::TokenGarbage,
        Damage::RootGarbage,
        Damage::EnvSyntax,
        Damage::MeshSyntax,
    ]
    .into_iter()
    .enumerate()
    {
        let place = dir.path().join(format!("damaged-{number}"));
        mesh.bundle.write_damaged(&mesh.istiod, damage, &place).unwrap();
        let read = |name: &str| fs::read(place.join(name)).ok();
        let text = |name: &str| String::from_utf8(read(name).unwrap()).unwrap();
        match damage {
            Damage::Missing(name) => assert_eq!(read(name), None),
            Damage::Empty(name) => assert_eq!(read(name), Some(Vec::new())),
            Damage::Unknown(name) => assert!(read(name).is_some()),
            Damage::TokenTruncated
            | Damage::TokenExpired
            | Damage::TokenAudience
            | Damage::TokenGarbage => {
                assert!(mesh.istiod.tokens().verify(&text("istio-token"), now).is_err());
            }
            Damage::RootGarbage => {
                let pem = text("root-cert.pem");
                let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
                assert!(rustls::RootCertStore::empty().add(der).is_err());
            }
            Damage::EnvSyntax => assert_ne!(read("cluster.env"), Some(whole("cluster.env"))),
            Damage::MeshSyntax => assert_ne!(read("mesh.yaml"), Some(whole("mesh.yaml"))),
        }
    }
}
