//! What is read of what was written, and of what was not.

use hawser_harness::ca::{Shape, TestCa, spiffe_id};
use hawser_state::write_file;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Disk {
    dir: tempfile::TempDir,
    ca: TestCa,
    identity: Identity,
    trust: Trust,
}

impl Disk {
    fn new() -> Self {
        let ca = TestCa::new(Shape::Intermediate).unwrap();
        let pair = ca.workload(&spiffe_id("ns", "vm"), DAY).unwrap();
        let key = PrivateKey::from_pem(&pair.key).unwrap();
        let roots = Bundle::from_pem(&ca.root_pem()).unwrap();
        let chain = Chain::from_pem(&pair.chain).unwrap();
        let identity = Identity::new(key, chain, roots.clone()).unwrap();
        let trust = Trust::new(roots, Vec::new());
        Self { dir: tempfile::tempdir().unwrap(), ca, identity, trust }
    }

    /// What was believed before, still.
    fn before(&mut self) -> Bundle {
        let old = TestCa::new(Shape::SelfSigned).unwrap().root_pem();
        let old = Bundle::from_pem(&old).unwrap();
        let now = SystemTime::UNIX_EPOCH + DAY;
        self.trust = Trust::new(old.clone(), Vec::new()).after(&self.identity.roots, now, DAY);
        old
    }

    fn keeper(&self, seal: Option<u8>) -> Keeper {
        Keeper {
            store: Arc::new(Store::open(self.dir.path()).unwrap()),
            seal: seal.map(|byte| SealKey::from_bytes(&[byte; 32]).unwrap()),
            id: SpiffeId::new("cluster.local", "ns", "vm").unwrap(),
        }
    }

    fn keep(&self, seal: Option<u8>) {
        self.keeper(seal).keep(&self.identity, &self.trust).unwrap();
    }

    fn body(&self) -> Vec<u8> {
        self.keeper(None).store.read(FILE, VERSION).unwrap().unwrap().to_vec()
    }

    fn aside(&self) -> usize {
        let names = std::fs::read_dir(self.dir.path()).unwrap().map(|name| name.unwrap());
        names.filter(|name| name.file_name().to_string_lossy().contains("damaged")).count()
    }
}

#[test]
fn what_was_kept_is_what_is_read() {
    let mut disk = Disk::new();
    let old = disk.before();
    for (seal, sealed) in [(None, false), (Some(7), true)] {
        disk.keep(seal);

        let kept = disk.keeper(seal).load().unwrap();

        assert_eq!(kept.identity.chain.pem(), disk.identity.chain.pem());
        assert_eq!(kept.identity.key.pem(), disk.identity.key.pem());
        assert_eq!(kept.trust, disk.trust);
        assert_eq!(kept.trust.learned().len(), disk.identity.roots.len() + old.len());
        assert_eq!(kept.sealed, sealed);
    }
    assert_eq!(disk.aside(), 0);
}

#[test]
fn a_sealed_file_shows_nothing_of_the_key() {
    let disk = Disk::new();
    disk.keep(Some(7));
    let body = disk.body();
    assert!(!body.windows(5).any(|window| window == b"BEGIN"));
}

#[test]
fn what_is_plain_is_sealed_as_soon_as_there_is_a_key() {
    let disk = Disk::new();
    disk.keep(None);

    assert!(disk.keeper(Some(7)).load().unwrap().sealed);

    assert!(seal::is_sealed(&disk.body()));
    assert!(disk.keeper(Some(7)).load().is_some());
}

#[test]
fn what_is_sealed_waits_for_its_key_until_its_place_is_needed() {
    let disk = Disk::new();
    disk.keep(Some(7));
    for stranger in [None, Some(8)] {
        assert!(disk.keeper(stranger).load().is_none());
        assert_eq!(disk.aside(), 0);
    }
    assert!(disk.keeper(Some(7)).load().is_some(), "the key is back");

    disk.keep(None);

    assert_eq!(disk.aside(), 1);
    assert!(!disk.keeper(None).load().unwrap().sealed);
}

#[test]
fn looking_changes_nothing() {
    let disk = Disk::new();
    let look = |seal: Option<u8>, id: &str| {
        let keeper = disk.keeper(seal);
        kept(&keeper.store, keeper.seal.as_ref(), &SpiffeId::parse(id).unwrap())
    };
    let own = spiffe_id("ns", "vm");
    assert!(look(None, &own).unwrap().is_none());
    disk.keep(Some(7));
    assert!(matches!(look(None, &own), Err(Error::Sealed)));
    assert!(matches!(look(Some(8), &own), Err(Error::OpenKept { .. })));
    let foreign = look(Some(7), &spiffe_id("ns", "other")).unwrap_err().to_string();
    assert!(foreign.contains("it is for spiffe://cluster.local/ns/ns/sa/vm"), "{foreign}");
    assert!(look(Some(7), &own).unwrap().is_some());
    assert_eq!(disk.aside(), 0);
}

#[test]
fn a_file_from_before_there_were_retired_roots_is_read() {
    let disk = Disk::new();
    let body = written(&disk.identity, &disk.trust);
    let Disk { identity, .. } = &disk;
    let parts = [identity.key.pem(), identity.chain.pem(), identity.roots.pem()];
    assert_eq!(body.len(), parts.map(|part| part.len() + 4).iter().sum::<usize>());

    let (_, trust) = parse(&body).unwrap();

    assert_eq!(trust, disk.trust);
}

#[test]
fn a_body_cut_anywhere_is_refused_or_loses_retired_roots_only() {
    let mut disk = Disk::new();
    let whole = written(&disk.identity, &disk.trust).len();
    disk.before();
    let body = written(&disk.identity, &disk.trust);
    for length in 0..body.len() {
        match parse(&body[..length]) {
            Ok((identity, trust)) => {
                assert!(length >= whole);
                assert_eq!(identity.chain.pem(), disk.identity.chain.pem());
                assert!(trust.retired().is_empty());
            }
            Err(_) => assert!(length < whole, "{length}"),
        }
    }
}

#[test]
fn what_does_not_fit_is_set_aside() {
    let disk = Disk::new();
    let store = &disk.keeper(None).store;
    let stranger = PrivateKey::generate(hawser_pki::KeyKind::EcdsaP256).unwrap();
    let mut body = Vec::new();
    append(&mut body, stranger.pem());
    append(&mut body, disk.identity.chain.pem());
    append(&mut body, disk.identity.roots.pem());
    for (count, body) in [body, b"\0\0\0\x04abc".to_vec(), Vec::new()].into_iter().enumerate() {
        store.write(FILE, VERSION, &body).unwrap();
        assert!(disk.keeper(None).load().is_none());
        assert_eq!(disk.aside(), count + 1);
    }
    write_file(&disk.dir.path().join(FILE), 0o600, b"something else").unwrap();
    assert!(disk.keeper(None).load().is_none());
    assert!(!disk.dir.path().join(FILE).exists());
    drop(disk.ca);
}
