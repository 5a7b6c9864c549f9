//! A file of services through its life: read, edited, broken, mended, and gone.

use std::{fs, net::IpAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use hawser_services::model::Protocol;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{follow::Outlets, *};

const GOOD: &str = "gateways: gw.example
services:
  - {host: reviews.prod.svc.cluster.local, port: 9080, identity: ns/prod/sa/reviews}
  - {host: db.prod.svc.cluster.local, port: 5432, protocol: tcp, identity: ns/prod/sa/db}
";
const MORE: &str =
    "  - {host: aaa.prod.svc.cluster.local, port: 5432, protocol: tcp, identity: ns/prod/sa/a}
";
const BAD: &str = "gateways: gw.example
services:
  - {host: reviews.prod.svc.cluster.local, port: 70000, identity: ns/prod/sa/reviews}
";

struct Place {
    dir: tempfile::TempDir,
    store: Arc<Store>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        let store = Arc::new(Store::open(&state).unwrap());
        Self { dir, store }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("services.yaml")
    }

    fn write(&self, text: &str) {
        hawser_state::write_file(&self.file(), 0o644, text.as_bytes()).unwrap();
    }

    fn begin(&self) -> Result<Begun, Problems> {
        let settings =
            Settings { file: self.file(), beside: false, wins: Wins::File, low_ports: 0 };
        let [trust_domain, namespace] = ["cluster.local", "vms"].map(str::to_owned);
        begin(Wanted { settings, trust_domain, namespace }, &self.store)
    }
}

fn address(standing: &Standing, host: &str) -> IpAddr {
    standing.addresses.of(&standing.services, host)
}

#[test]
fn a_file_that_is_no_good_is_no_start_where_nothing_was_kept_and_says_where_it_is_wrong() {
    let place = Place::new();
    place.write(BAD);

    let problems = place.begin().unwrap_err();

    assert_eq!(problems.0.len(), 1, "{problems}");
    assert!(problems.to_string().contains("services.yaml:3: services[0].port"), "{problems}");
}

#[test]
fn what_was_in_use_last_is_used_where_the_file_is_no_good_or_gone() {
    let place = Place::new();
    place.write(GOOD);
    let before = place.begin().unwrap();

    for spoil in [
        |place: &Place| place.write(BAD),
        |place: &Place| {
            fs::remove_file(place.file()).unwrap();
        },
    ] {
        spoil(&place);
        let begun = place.begin().unwrap();
        assert_eq!(begun.supply, before.supply);
        assert!(begun.standing.kept && begun.standing.wrong_since.is_some());
        assert!(begun.standing.problems[0].contains("services.yaml"));
    }
}

#[test]
fn what_was_kept_and_is_damaged_is_done_without() {
    let place = Place::new();
    place.write(GOOD);
    place.begin().unwrap();
    for name in ["services", "addresses"] {
        place.store.write(name, 1, b"neither of them").unwrap();
    }

    assert!(place.begin().is_ok());
    for name in ["services", "addresses"] {
        place.store.write(name, 1, b"neither of them").unwrap();
    }
    place.write(BAD);
    assert!(place.begin().is_err());
}

#[test]
fn a_name_keeps_its_address_over_edits_and_starts() {
    let place = Place::new();
    place.write(GOOD);
    let db = address(&place.begin().unwrap().standing, "db.prod.svc.cluster.local");

    place.write(&format!("{GOOD}{MORE}"));
    let standing = place.begin().unwrap().standing;

    assert_eq!(address(&standing, "db.prod.svc.cluster.local"), db);
    assert_ne!(address(&standing, "aaa.prod.svc.cluster.local"), db);
    let names = names_of(&place.begin().unwrap().supply);
    let said = names.iter().find(|entry| entry.host == "db.prod.svc.cluster.local").unwrap();
    assert_eq!(said.ips().collect::<Vec<_>>(), [db.to_string()]);
}

#[tokio::test]
async fn an_edit_is_in_use_at_once_and_a_bad_one_changes_nothing_until_it_is_mended() {
    let place = Place::new();
    place.write(GOOD);
    let begun = place.begin().unwrap();
    let (tell, mut supply) = watch::channel(Arc::clone(&begun.supply));
    let standing = Arc::new(watch::Sender::new(Arc::new(begun.standing.clone())));
    let mut told = standing.subscribe();
    let stop = CancellationToken::new();
    let outlets = Outlets { supply: tell, standing };
    let follow = follow(begun, Arc::clone(&place.store), outlets, stop.clone());
    let story = async {
        place.write(&format!("{GOOD}{MORE}"));
        supply.changed().await.unwrap();
        let tcp = |standing: &Arc<Standing>| {
            let services = standing.services.services.iter();
            services.filter(|service| service.protocol == Protocol::Tcp).count()
        };
        told.wait_for(|standing| tcp(standing) == 2).await.unwrap();

        place.write(BAD);
        told.wait_for(|standing| !standing.problems.is_empty()).await.unwrap();
        assert_eq!(tcp(&told.borrow()), 2, "nothing else has changed");
        assert!(!supply.has_changed().unwrap());
        assert!(told.borrow().problems[0].contains(":3: services[0].port"));

        place.write(&format!("{GOOD}{MORE}"));
        told.wait_for(|standing| standing.problems.is_empty()).await.unwrap();
        assert!(told.borrow().wrong_since.is_none());
        assert!(!supply.has_changed().unwrap(), "it is what it was before");
        stop.cancel();
    };
    let both = async { tokio::join!(follow, story) };
    timeout(Duration::from_secs(60), both).await.unwrap().0.unwrap();
}
