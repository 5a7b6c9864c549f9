//! The whole of it, with an `ip` and a `resolvectl` that change files in a directory instead of the
//! machine.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

const AMPLE: Duration = Duration::from_secs(60);

/// Makes and removes a directory in `/sys`; fails to make a `dummy` if there is a file of that
/// name.
const IP: &str = r#"#!/bin/sh
root=$(dirname "$0")/../..
link=$root/sys/class/net/hawser0
netif=$root/run/systemd/resolve/netif/7
echo "ip $*" >>"$root/said"
case "$1 $2" in
"link add")
    [ "$6" != dummy ] || [ ! -e "$root/no-dummy" ] || { echo "Error: Unknown device type." >&2; exit 2; }
    mkdir -p "$link"; echo 7 >"$link/ifindex"; : >"$link/ifalias" ;;
"link delete") rm -rf "$link" "$netif" ;;
"link set") [ "$5" != alias ] || echo "$6" >"$link/ifalias" ;;
esac
"#;

/// Keeps what it is told where systemd-resolved would.
const RESOLVECTL: &str = r#"#!/bin/sh
root=$(dirname "$0")/../..
netif=$root/run/systemd/resolve/netif
case "$1" in --version) cat "$root/version"; exit ;; esac
[ ! -e "$root/away" ] || { echo "Failed to connect to bus" >&2; exit 1; }
verb=$1; shift 2
mkdir -p "$netif"; [ -e "$netif/7" ] || : >"$netif/7"
if [ $# = 0 ]; then
    echo "Link 7 (hawser0): $(sed -n "s/^$verb //p" "$netif/7")"
else
    echo "resolvectl $verb $*" >>"$root/said"
    { grep -v "^$verb " "$netif/7"; echo "$verb $*"; } >"$netif/new"
    mv "$netif/new" "$netif/7"
fi
"#;

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("ip", IP), ("resolvectl", RESOLVECTL)] {
            machine.write(&format!("usr/bin/{name}"), text);
            let program = machine.path(&format!("usr/bin/{name}"));
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine.write("version", "systemd 252 (252.39-1~deb12u2)\n");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new_in(self.0.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(path).unwrap();
    }

    fn want(&self, domains: &[&str]) {
        let domains = domains.iter().copied().map(str::to_owned).collect();
        let wanted = Wanted::new("127.0.0.1:15053".parse().unwrap(), domains);
        self.write("run/hawser/dns-domains", &wanted.to_string());
    }

    fn options(&self) -> Options {
        Options { root: self.0.path().to_owned(), path: self.path("run/hawser/dns-domains") }
    }

    /// systemd-resolved starts, and knows nothing of the link any more.
    fn forgets(&self) {
        fs::remove_file(self.path("run/systemd/resolve/netif/7")).unwrap();
        self.write("run/systemd/resolve/io.systemd.Resolve", "");
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    fn memory(&self) -> String {
        fs::read_to_string(self.path("run/systemd/resolve/netif/7")).unwrap_or_default()
    }

    async fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        let mut watch = Watch::new([self.path("run/systemd/resolve/netif/7")]);
        let wait = async {
            while !is(&self.memory()) {
                watch.changed().await;
            }
        };
        timeout(AMPLE, wait).await.unwrap_or_else(|_| panic!("{what}: {}", self.said()));
    }
}

struct Running {
    parts: JoinSet<Result<(), Error>>,
    stop: CancellationToken,
}

impl Running {
    fn on(machine: &Machine) -> Self {
        let (options, stop) = (machine.options(), CancellationToken::new());
        let (mut parts, told) = (JoinSet::new(), stop.clone());
        let notifier = Notifier::new(None, None).unwrap();
        parts.spawn(async move { run(&options, &notifier, told).await });
        Self { parts, stop }
    }

    async fn ends(mut self) -> Result<(), String> {
        let ended = timeout(AMPLE, self.parts.join_next()).await.expect("it does not end");
        ended.unwrap().unwrap().map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn what_the_file_says_is_told_until_the_file_is_gone() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local", "example.com"]);
    let running = Running::on(&machine);

    machine.until("the server", |told| told.contains("dns 127.0.0.1:15053")).await;
    let said = machine.said();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "ip link add name hawser0 type dummy",
            "ip link set dev hawser0 alias names of the mesh for systemd-resolved, kept by hawser",
            "ip address replace 169.254.0.53/32 dev hawser0 scope global",
            "ip link set dev hawser0 up",
            "resolvectl default-route no",
            "resolvectl llmnr no",
            "resolvectl mdns no",
            "resolvectl dnssec no",
            "resolvectl dnsovertls no",
            "resolvectl domain ~svc.cluster.local ~example.com",
            "resolvectl dns 127.0.0.1:15053",
        ]
    );

    machine.want(&["svc.cluster.local", "example.org"]);
    machine.until("a change", |told| told.contains("~example.org")).await;
    fs::remove_dir_all(machine.path("run/hawser")).unwrap();

    running.ends().await.unwrap();
    assert!(machine.said().ends_with("ip link delete dev hawser0\n"), "{}", machine.said());
    assert!(!machine.path("sys/class/net/hawser0").exists());
}

#[tokio::test]
async fn what_systemd_forgets_is_told_again() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local"]);
    let running = Running::on(&machine);
    let told = |told: &str| told.contains("dns 127.0.0.1:15053");
    machine.until("the server", told).await;

    machine.forgets();
    machine.until("the server again", told).await;
    fs::remove_dir_all(machine.path("sys/class/net/hawser0")).unwrap();
    machine.forgets();
    machine.until("the link again", told).await;

    running.stop.cancel();
    running.ends().await.unwrap();
    assert_eq!(machine.memory(), "");
}

#[tokio::test]
async fn a_systemd_that_is_away_is_told_when_it_is_back() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local"]);
    let running = Running::on(&machine);
    machine.until("the server", |told| told.contains("dns 127.0.0.1:15053")).await;

    machine.write("away", "");
    machine.want(&["svc.cluster.local", "example.com"]);
    // It cannot be told; and a test cannot see that it was tried.
    fs::remove_file(machine.path("away")).unwrap();

    machine.until("the change", |told| told.contains("~example.com")).await;
    drop(running);
}

#[tokio::test]
async fn a_kernel_without_dummies_gives_a_bridge() {
    let machine = Machine::new();
    machine.write("no-dummy", "");
    machine.want(&["svc.cluster.local"]);
    let running = Running::on(&machine);
    machine.until("the server", |told| told.contains("dns 127.0.0.1:15053")).await;
    assert!(machine.said().contains("type bridge"), "{}", machine.said());
    drop(running);
}

#[tokio::test]
async fn without_a_file_nothing_is_done() {
    let machine = Machine::new();
    Running::on(&machine).ends().await.unwrap();
    assert_eq!(machine.said(), "");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_leaves_nothing_behind() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local"]);
    machine.write("version", "systemd 245 (245.4-4ubuntu3)\n");
    let said = Running::on(&machine).ends().await.unwrap_err();
    assert!(said.contains("systemd 245 cannot be given a server with a port"), "{said}");

    machine.write("version", "systemd 252\n");
    machine.write("away", "");
    let said = Running::on(&machine).ends().await.unwrap_err();
    assert!(said.contains("does systemd-resolved.service run?"), "{said}");
    assert!(!machine.path("sys/class/net/hawser0").exists());

    fs::remove_file(machine.path("away")).unwrap();
    machine.write("sys/class/net/hawser0/ifalias", "mine\n");
    let said = Running::on(&machine).ends().await.unwrap_err();
    assert!(said.contains("hawser0 is not hawser's"), "{said}");
    undo(&machine.options()).await.unwrap();
    assert!(machine.path("sys/class/net/hawser0").exists(), "somebody else's");
}

#[tokio::test]
async fn what_a_killed_process_left_is_undone() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local"]);
    let mut running = Running::on(&machine);
    machine.until("the server", |told| told.contains("dns 127.0.0.1:15053")).await;
    running.parts.shutdown().await;
    assert!(machine.path("sys/class/net/hawser0").exists());

    undo(&machine.options()).await.unwrap();
    undo(&machine.options()).await.unwrap();

    assert!(!machine.path("sys/class/net/hawser0").exists());
}

#[tokio::test]
async fn what_was_killed_before_it_could_say_whose_it_is_is_taken_up_or_undone() {
    let machine = Machine::new();
    machine.want(&["svc.cluster.local"]);
    machine.write("sys/class/net/hawser0/ifindex", "7\n");
    machine.write("sys/class/net/hawser0/ifalias", "\n");
    undo(&machine.options()).await.unwrap();
    assert!(!machine.path("sys/class/net/hawser0").exists());

    machine.write("sys/class/net/hawser0/ifindex", "7\n");
    machine.write("sys/class/net/hawser0/ifalias", "\n");
    let running = Running::on(&machine);
    machine.until("the server", |told| told.contains("dns 127.0.0.1:15053")).await;
    assert!(!machine.said().contains("link add"), "{}", machine.said());
    assert!(machine.said().contains("dev hawser0 alias"), "{}", machine.said());
    drop(running);
}
