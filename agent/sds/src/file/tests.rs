//! What files may hold.

use std::{io::Write, os::unix::net::UnixListener};

use hawser_pki::{KeyForm, KeyKind, PrivateKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

use super::*;
use crate::tests::client::Mesh;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::File::create(&path).unwrap().write_all(bytes.as_ref()).unwrap();
        path
    }

    fn pair(&self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Held, Unfit> {
        let (chain, key) = (self.write("chain", chain), self.write("key", key));
        File::Pair { chain, key }.read()
    }

    fn roots(&self, text: impl AsRef<[u8]>) -> Result<Held, Unfit> {
        File::Roots(self.write("roots", text)).read()
    }
}

/// A certificate for a key of the agent's own making.
fn certified(kind: KeyKind) -> (String, PrivateKey) {
    let key = PrivateKey::generate(kind).unwrap();
    let pair = KeyPair::from_pem(key.pem()).unwrap();
    (CertificateParams::default().self_signed(&pair).unwrap().pem(), key)
}

fn said(read: Result<Held, Unfit>) -> String {
    hawser_rt::Chain(&read.unwrap_err()).to_string()
}

#[test]
fn a_pair_is_taken_in_every_form_and_its_key_goes_on_as_it_was_written() {
    let folder = Folder::new();
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048] {
        let (chain, key) = certified(kind);
        for form in [KeyForm::Traditional, KeyForm::Pkcs8] {
            let text = format!("Bag Attributes\n{}# the end", &*key.encoded(form));
            let held = folder.pair(&chain, &text).unwrap();
            let Content::Pair(pair) = held.content else { panic!("a pair") };
            assert_eq!(*pair.key, text);
            assert_eq!(pair.chain.pem(), Chain::from_pem(&chain).unwrap().pem());
        }
    }
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let chain = CertificateParams::default().self_signed(&pair).unwrap().pem();
    folder.pair(chain, pair.serialize_pem()).unwrap();
}

#[test]
fn versions_follow_the_content_and_not_the_text() {
    let folder = Folder::new();
    let (chain, key) = certified(KeyKind::EcdsaP256);
    let version = |chain: &str| folder.pair(chain, key.pem()).unwrap().version;
    assert_eq!(version(&chain), version(&format!("comment\n\n{chain}")));

    let (one, two) = (Mesh::new().root_pem(), Mesh::new().root_pem());
    let version = |text: &str| folder.roots(text).unwrap().version;
    assert_eq!(version(&one), version(&format!("{one}{one}")));
    assert_ne!(version(&one), version(&two));
}

#[test]
fn a_pair_that_does_not_load_or_fit_is_refused_and_nothing_of_it_repeated() {
    let folder = Folder::new();
    let (chain, key) = certified(KeyKind::EcdsaP256);
    let (_, other) = certified(KeyKind::EcdsaP256);
    let half = chain.split_at(chain.len() / 2).0;
    let locked = key.pem().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cases = [
        (&*chain, other.pem(), "does not fit the certificate"),
        (half, key.pem(), "is no certificate chain"),
        ("", key.pem(), "is no certificate chain: no certificate found"),
        (key.pem(), key.pem(), "is no certificate chain: no certificate found"),
        (&*chain, "", "has no private key: expected an unencrypted one in PEM"),
        (&*chain, &*chain, "has no private key"),
        (&*chain, &*locked, "has no private key"),
        (
            &*chain,
            "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----",
            "no private key",
        ),
        (
            &*chain,
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
            "are of no use",
        ),
    ];
    for (chain, key, expected) in cases {
        let said = said(folder.pair(chain, key));
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("secret") && !said.contains("c2VjcmV0"), "{said}");
    }
    assert!(!format!("{:?}", folder.pair(&chain, key.pem())).contains("PRIVATE"));
}

#[test]
fn of_roots_the_good_ones_are_taken() {
    let folder = Folder::new();
    let root = Mesh::new().root_pem();
    let text = format!("{root}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let Content::Roots(roots) = folder.roots(text).unwrap().content else { panic!("roots") };
    assert_eq!(roots.pem(), root);
    for bad in ["", "no PEM", root.split_at(root.len() / 2).0] {
        assert!(said(folder.roots(bad)).contains("is no trust bundle"), "{bad}");
    }
}

#[test]
fn what_is_no_file_of_text_is_refused_with_the_path() {
    let folder = Folder::new();
    let read = |path: PathBuf| said(File::Roots(path).read());
    assert!(read(folder.path("nothing")).ends_with("/nothing is not there"));
    folder.write("file", "");
    assert!(read(folder.path("file/below")).ends_with("/file/below is not there"));
    assert!(read(folder.path(".")).ends_with("is not a file"));
    assert_eq!(read("/dev/zero".into()), "/dev/zero is not a file");
    let _listener = UnixListener::bind(folder.path("socket")).unwrap();
    assert!(read(folder.path("socket")).ends_with("/socket is not a file"));
    assert!(
        read(folder.write("binary", [0xff, 0xfe])).ends_with("is no text, and PEM is expected")
    );
    fs::File::create(folder.path("large")).unwrap().set_len(4_194_305).unwrap();
    assert!(read(folder.path("large")).ends_with("/large is larger than 4194304 bytes"));
}

#[test]
fn of_the_bundles_of_operating_systems_the_first_that_is_there_counts() {
    let folder = Folder::new();
    let (one, two) = (Mesh::new(), Mesh::new());
    let paths = ["0", "1", "2"].map(|name| folder.path(name));
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    assert!(said(first_of(&paths)).contains("install the package ca-certificates"));
    folder.write("2", two.root_pem());
    let found = |mesh: &Mesh| {
        let Content::Roots(roots) = first_of(&paths).unwrap().content else { panic!("roots") };
        roots == mesh.roots()
    };
    assert!(found(&two));
    folder.write("1", one.root_pem());
    assert!(found(&one));
    folder.write("1", "damaged");
    assert!(said(first_of(&paths)).contains("/1 is no trust bundle"));
    assert_eq!(File::System.paths().len(), 8);
}
