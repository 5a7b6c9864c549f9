//! Real files and the kernel's own events.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Far more than an event takes.
const AMPLE: Duration = Duration::from_secs(30);

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file in the place of another, as resolvconf and NetworkManager do.
    fn put(&self, name: &str, text: &str) {
        let mut file = tempfile::NamedTempFile::new_in(self.path(name).parent().unwrap()).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.persist(self.path(name)).unwrap();
    }

    /// Writes a file in place, as people do.
    fn write(&self, name: &str, text: &str) {
        let mut file = File::create(self.path(name)).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    fn relink(&self, target: &str, name: &str) {
        symlink(target, self.path("fresh")).unwrap();
        fs::rename(self.path("fresh"), self.path(name)).unwrap();
    }

    fn sources(&self) -> Sources {
        Sources {
            behind: self.path("behind"),
            ..Sources::new(self.path("resolv.conf"), Vec::new())
        }
    }

    fn follower(&self) -> Follower {
        Follower::open(self.sources())
    }
}

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// What is read next.
async fn next(follower: &mut Follower) -> Resolv {
    timeout(AMPLE, follower.changed()).await.expect("not told of a change").clone()
}

#[tokio::test]
async fn resolvers_and_search_domains_come_anew_however_the_file_changes() {
    type Act = fn(&Place);
    let cases: [(&str, Act); 6] = [
        ("renamed over", |place| place.put("etc/resolv.conf", NEW)),
        ("written in place", |place| place.write("etc/resolv.conf", NEW)),
        ("deleted and made again", |place| {
            fs::remove_file(place.path("etc/resolv.conf")).unwrap();
            place.put("etc/resolv.conf", NEW);
        }),
        ("its directory made again", |place| {
            fs::rename(place.path("etc"), place.path("old")).unwrap();
            fs::create_dir(place.path("etc")).unwrap();
            place.put("etc/resolv.conf", NEW);
        }),
        ("made a link", |place| {
            place.put("run", NEW);
            place.relink("../run", "etc/resolv.conf");
        }),
        ("its target made anew", |place| {
            place.put("run", OLD);
            place.relink("../run", "etc/resolv.conf");
            place.put("run", NEW);
        }),
    ];
    for (case, act) in cases {
        let place = Place::new();
        fs::create_dir(place.path("etc")).unwrap();
        place.put("etc/resolv.conf", OLD);
        let sources = Sources { path: place.path("etc/resolv.conf"), ..place.sources() };
        let mut follower = Follower::open(sources);
        assert_eq!(follower.now().servers, addresses(&["192.0.2.1:53"]), "{case}");
        assert_eq!(follower.now().search, ["old.example"], "{case}");

        act(&place);

        let now = next(&mut follower).await;
        assert_eq!(now.servers, addresses(&["192.0.2.2:53"]), "{case}");
        assert_eq!(now.search, ["new.example", "example"], "{case}");
    }
}

#[tokio::test]
async fn a_link_and_then_its_target_are_followed() {
    let place = Place::new();
    place.put("stub", OLD);
    place.relink("stub", "resolv.conf");
    let mut follower = place.follower();

    place.put("stub", NEW);
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.2:53"]));
    place.put("other", "nameserver 192.0.2.3\n");
    place.relink("other", "resolv.conf");
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.3:53"]));
    place.put("stub", "nameserver 192.0.2.4\n");
    place.write("other", "nameserver 192.0.2.5\n");
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.5:53"]));
}

#[tokio::test]
async fn a_file_that_is_bad_leaves_everything_as_it_was() {
    let place = Place::new();
    place.put("resolv.conf", OLD);
    let mut follower = place.follower();
    let before = follower.now().clone();

    for text in ["", "search x\n", "nameserver nobody\n", "\u{0}"] {
        place.put("resolv.conf", text);
        assert!(!follower.look().await, "{text:?}");
        assert_eq!(*follower.now(), before, "{text:?}");
    }
    fs::remove_file(place.path("resolv.conf")).unwrap();
    assert!(!follower.look().await);
    fs::create_dir(place.path("resolv.conf")).unwrap();
    assert!(!follower.look().await);
    assert_eq!(*follower.now(), before);

    fs::remove_dir(place.path("resolv.conf")).unwrap();
    place.put("resolv.conf", NEW);
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.2:53"]));
}

#[tokio::test]
async fn a_file_that_comes_late_is_read_then() {
    let place = Place::new();
    let mut follower = place.follower();
    assert_eq!(*follower.now(), Resolv::default());

    place.put("resolv.conf", OLD);

    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.1:53"]));
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_up_while_nothing_changes() {
    let place = Place::new();
    place.put("resolv.conf", OLD);
    let mut follower = place.follower();

    // The clock of this test goes on when everything waits, up to the next time that somebody has
    // set: for a day nobody has.
    let day = Duration::from_secs(86_400);
    assert!(timeout(day, follower.changed()).await.is_err());
}

#[tokio::test]
async fn we_ourselves_are_not_asked_and_the_search_domains_count_all_the_same() {
    let place = Place::new();
    let own = addresses(&["127.0.0.1:53", "[::1]:53"]);
    place.put("resolv.conf", "nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver ::1\n");
    let mut follower = Follower::open(Sources { own, ..place.sources() });
    assert_eq!(follower.now().servers, addresses(&["192.0.2.1:53"]));

    place.put("resolv.conf", "nameserver 127.0.0.1\nsearch new.example\n");
    let now = next(&mut follower).await;
    assert_eq!(now.servers, addresses(&["192.0.2.1:53"]), "the last one that was known");
    assert_eq!(now.search, ["new.example"]);
}

#[tokio::test]
async fn who_asks_a_stub_that_asks_us_finds_its_servers_beside_it() {
    let place = Place::new();
    place.put("resolv.conf", "nameserver 127.0.0.53\nsearch office.example\n");
    place.put("behind", "nameserver 192.0.2.1\nsearch elsewhere\n");
    let sources = Sources { split: true, ..place.sources() };

    let mut follower = Follower::open(sources);

    assert_eq!(follower.now().servers, addresses(&["192.0.2.1:53"]));
    assert_eq!(follower.now().search, ["office.example"]);
    assert_eq!(follower.now().path, place.path("behind"));
    place.put("behind", "nameserver 192.0.2.2\n");
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.2:53"]));
    place.put("resolv.conf", "nameserver 192.0.2.3\nnameserver 127.0.0.53\n");
    let now = next(&mut follower).await;
    assert_eq!(now.servers, addresses(&["192.0.2.3:53"]), "the stub is never asked");
}

#[tokio::test]
async fn a_loop_is_gone_around_for_as_long_as_it_lasts() {
    let place = Place::new();
    let stub = addresses(&["127.0.0.53:53"]);
    place.put("resolv.conf", "nameserver 127.0.0.53\n");
    let mut follower = place.follower();
    assert_eq!(follower.now().servers, stub);

    assert!(!follower.avoid(stub.clone()).await, "there is nothing else");
    assert_eq!(follower.now().servers, stub);
    place.put("behind", "nameserver 192.0.2.1\n");
    assert_eq!(next(&mut follower).await.servers, addresses(&["192.0.2.1:53"]));
    assert!(follower.avoid(Vec::new()).await);
    assert_eq!(follower.now().servers, stub);
}

#[tokio::test]
async fn the_zone_of_an_address_is_kept() {
    let place = Place::new();
    place.put("resolv.conf", "nameserver fe80::1%lo\nnameserver fe80::2%9\n");

    let follower = place.follower();

    let zone = |server: &SocketAddr| match server {
        SocketAddr::V6(server) => server.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    let zones: Vec<_> = follower.now().servers.iter().map(zone).collect();
    assert_eq!(zones, [nix::net::if_::if_nametoindex("lo").unwrap(), 9]);
}

const OLD: &str = "nameserver 192.0.2.1\nsearch old.example\n";
const NEW: &str = "nameserver 192.0.2.2\nsearch new.example example\n";
