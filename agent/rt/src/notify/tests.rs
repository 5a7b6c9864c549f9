//! A manager on a socket of its own reads what it is told.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

struct Fake {
    _directory: TempDir,
    path: PathBuf,
    socket: UnixDatagram,
}

impl Fake {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _directory: directory, path, socket }
    }

    fn notifier(&self, watchdog: Option<Duration>) -> Notifier {
        Notifier::new(Some(self.path.clone().into()), watchdog).unwrap()
    }

    fn told(&self) -> String {
        told(&self.socket)
    }
}

fn told(socket: &UnixDatagram) -> String {
    // What was sent is in the queue already: nothing to wait for.
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn each_step_is_told_in_the_managers_words() {
    let manager = Fake::new();
    let notifier = manager.notifier(Some(Duration::from_secs(30)));

    notifier.ready();
    assert_eq!(manager.told(), "READY=1");
    notifier.stopping();
    assert_eq!(manager.told(), "STOPPING=1");
    notifier.feed();
    assert_eq!(manager.told(), "WATCHDOG=1");
    notifier.status("serving");
    assert_eq!(manager.told(), "STATUS=serving");

    notifier.reloading();
    let told = manager.told();
    let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
}

#[test]
fn a_status_is_one_short_line() {
    let long = "ä".repeat(600);
    let cut = "ä".repeat(STATUS_LIMIT);
    let cases = [
        ("", ""),
        (" waiting for istiod\n", "waiting for istiod"),
        ("one\nREADY=1\r\0two", "one READY=1  two"),
        (long.as_str(), cut.as_str()),
    ];
    let manager = Fake::new();
    let notifier = manager.notifier(None);
    for (said, heard) in cases {
        notifier.status(said);

        assert_eq!(manager.told(), format!("STATUS={heard}"));
    }
}

#[test]
fn an_abstract_socket_will_do() {
    let name = format!("hawser-notify-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    let notifier = Notifier::new(Some(format!("@{name}").into()), None).unwrap();

    notifier.ready();

    assert_eq!(told(&socket), "READY=1");
}

#[test]
fn without_a_manager_nothing_is_said() {
    for socket in [None, Some(OsString::new())] {
        let notifier = Notifier::new(socket, Some(Duration::from_secs(30))).unwrap();

        notifier.ready();

        assert_eq!(notifier.watchdog(), None);
    }
}

#[test]
fn the_watchdog_is_fed_at_half_its_limit() {
    let manager = Fake::new();
    let seconds = Duration::from_secs;
    let cases =
        [(None, None), (Some(seconds(30)), Some(seconds(15))), (Some(Duration::ZERO), None)];
    for (limit, interval) in cases {
        let notifier = manager.notifier(limit);
        assert_eq!(notifier.watchdog(), interval, "{limit:?}");
        assert_eq!(notifier.watchdog_limit(), interval.map(|half| half * 2), "{limit:?}");
    }
}

#[test]
fn addresses_that_systemd_would_not_give_are_refused() {
    let long = format!("/{}", "x".repeat(200));
    let cases = [
        ("run/notify", "expected /path or @name"),
        ("@", "expected /path or @name"),
        ("vsock:2:1", "expected /path or @name"),
        (long.as_str(), "use notification socket /xxx"),
    ];
    for (socket, expected) in cases {
        let error = Notifier::new(Some(socket.into()), None).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_manager_that_is_away_or_asleep_stops_nobody() {
    let manager = Fake::new();
    let notifier = manager.notifier(None);

    // Far more than any queue holds, and nobody reads.
    for _ in 0..10_000 {
        notifier.feed();
    }
    fs::remove_file(&manager.path).unwrap();
    notifier.feed();

    let back = UnixDatagram::bind(&manager.path).unwrap();
    notifier.ready();
    assert_eq!(told(&back), "READY=1");
}

/// What was told, and what came with it.
fn told_with(socket: &UnixDatagram) -> (String, Vec<std::os::fd::OwnedFd>) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let parts = &mut [io::IoSliceMut::new(&mut text)];
    let length = recvmsg(socket, parts, &mut control, RecvFlags::DONTWAIT).unwrap().bytes;
    let rights = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let rights = rights.collect();
    (String::from_utf8(text[..length].to_vec()).unwrap(), rights)
}

#[test]
fn a_socket_is_kept_under_a_name_that_the_manager_takes() {
    let manager = Fake::new();
    let notifier = manager.notifier(None);
    let kept = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();

    notifier.store("dns-udp-[::1]:53 a", &kept);

    let (told, mut rights) = told_with(&manager.socket);
    assert_eq!(told, "FDSTORE=1\nFDNAME=dns-udp-[__1]_53-a\nFDPOLL=0");
    let again = std::net::UdpSocket::from(rights.pop().unwrap());
    assert_eq!(again.local_addr().unwrap(), kept.local_addr().unwrap());
    assert!(rights.is_empty());

    notifier.remove("dns-udp-[::1]:53 a");
    assert_eq!(manager.told(), "FDSTOREREMOVE=1\nFDNAME=dns-udp-[__1]_53-a");
}

#[test]
fn without_a_manager_or_with_one_that_is_away_nothing_is_kept() {
    let manager = Fake::new();
    let away = manager.notifier(None);
    fs::remove_file(&manager.path).unwrap();
    for notifier in [Notifier::new(None, None).unwrap(), away] {
        notifier.store("a", &manager.socket);
        notifier.remove("a");
    }
}

#[test]
fn what_is_handed_over_is_owned_and_not_for_programs_that_are_started() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();

    let owned = handed::owned(socket.as_raw_fd()).unwrap();

    let flags = FdFlag::from_bits_retain(fcntl(&owned, FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    let again = std::net::UdpSocket::from(owned);
    assert_eq!(again.local_addr().unwrap(), socket.local_addr().unwrap());
    assert!(handed::owned(-1).is_err() && handed::owned(1 << 20).is_err());
}

#[test]
fn what_is_handed_to_another_process_is_not_ours() {
    let own = std::process::id().to_string();
    let cases = [
        (None, Some("1")),
        (Some("1"), Some("1")),
        (Some(""), Some("1")),
        (Some(&*own), None),
        (Some(&*own), Some("0")),
        (Some(&*own), Some("-1")),
        (Some(&*own), Some("many")),
    ];
    for (pid, count) in cases {
        let mut notifier = Notifier::new(None, None).unwrap().taking(pid, count, Some("a:b"));
        assert!(notifier.handed().is_empty(), "{pid:?} {count:?}");
    }
}
