//! Faults of names: in the files that this host resolves by, and on the way from its programs to the
//! agent.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::symlink,
    path::Path,
    thread,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Fault, Site, process, put,
    stand_in::{Answers, Joined},
};

pub(super) const FAULTS: &[Fault] = &[
    ("resolv-conf", a_resolv_conf_that_is_not_there_or_names_nobody_is_told),
    ("nameservers", a_resolver_that_does_not_answer_is_named),
    ("dns-search", names_that_are_asked_for_in_vain_are_told),
    ("dns-loop", an_agent_that_would_relay_to_itself_is_told),
    ("nsswitch", programs_that_ask_no_dns_are_told),
    ("dns-port", whoever_has_the_port_for_dns_is_named),
    ("systemd-resolved", a_systemd_resolved_that_does_not_know_the_mesh_is_told),
    ("dns-answers", a_port_for_dns_that_does_not_answer_is_named),
    ("dns-table", names_that_are_missing_or_old_are_told),
    ("dns-upstreams", resolvers_that_are_silent_are_named),
    ("hosts-shadow", a_name_of_the_mesh_in_etc_hosts_is_named),
    ("dns-host-path", a_program_that_gets_something_else_is_told_by_why),
    ("mdns", mdns_before_a_mesh_below_local_is_told),
];

/// A host that resolves.
pub(super) fn healthy(root: &Path) -> Result<()> {
    put(root, "etc/resolv.conf", "search example.com\nnameserver 192.0.2.53\n")?;
    put(root, "etc/nsswitch.conf", "hosts: files dns\n")?;
    for table in ["tcp", "udp"] {
        put(root, &format!("proc/self/net/{table}"), "  sl  local_address rem_address   st\n")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_resolv_conf_that_is_not_there_or_names_nobody_is_told() -> Result<()> {
    let site = Site::new()?;
    site.look("resolv-conf").await?.says("ok", &["names 192.0.2.53"])?;
    site.put("etc/resolv.conf", "search example.com\nnameserver 10.0.0.300\n")?;
    let seen = site.look("resolv-conf").await?;
    seen.failed(&["names no resolver; 1 lines cannot be read"], "nameserver ADDRESS")?;

    site.put("etc/resolv.conf", "nameserver 192.0.2.53\nnameserver nonsense\n")?;
    let seen = site.look("resolv-conf").await?;
    seen.warns(&["192.0.2.53", "1 lines `nameserver` are none"], "each takes one address")?;

    fs::remove_file(site.file("etc/resolv.conf"))?;
    let stub = "/run/systemd/resolve/stub-resolv.conf";
    symlink(stub, site.file("etc/resolv.conf"))?;
    let seen = site.look("resolv-conf").await?;
    seen.failed(&["a link to /run/systemd", "is not there"], "systemctl restart systemd-resolved")?;
    // What is below the root is looked at, and not the host that the test runs on.
    site.put(stub, "nameserver 127.0.0.53\n")?;
    site.look("resolv-conf").await?.says("ok", &["127.0.0.53"])
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_named() -> Result<()> {
    let site = Site::new()?;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let line = |address: SocketAddr| format!("nameserver [{}]:{}\n", address.ip(), address.port());
    site.put("etc/resolv.conf", &line(silent.local_addr()?))?;
    let seen = site.look("nameservers").await?;
    seen.failed(&["nobody answers: 127.0.0.1 (no answer)"], "port 53 in firewalls")?;

    let answers = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let both = line(silent.local_addr()?) + &line(answers.local_addr()?);
    site.put("etc/resolv.conf", &both)?;
    let thread = thread::spawn(move || -> Result<()> {
        let mut packet = [0; 512];
        let (length, from) = answers.recv_from(&mut packet)?;
        packet[2] |= 0x80;
        answers.send_to(&packet[..length], from)?;
        Ok(())
    });
    let seen = site.look("nameservers").await?;
    seen.warns(&["127.0.0.1 answer, and not 127.0.0.1", "programs wait"], "another")?;
    thread.join().map_err(|_panic| anyhow::anyhow!("the resolver has panicked"))?
}

#[tokio::test]
async fn names_that_are_asked_for_in_vain_are_told() -> Result<()> {
    let site = Site::new()?;
    site.look("dns-search").await?.ok()?;
    let pods =
        "search demo.svc.cluster.local svc.cluster.local\nnameserver 192.0.2.53\noptions ndots:5\n";
    site.put("etc/resolv.conf", pods)?;
    let seen = site.look("dns-search").await?;
    seen.warns(&["2 search domains, ndots:5", "2 times in vain"], "options ndots:")
}

#[tokio::test]
async fn an_agent_that_would_relay_to_itself_is_told() -> Result<()> {
    let site = Site::new()?;
    site.look("dns-loop").await?.says("ok", &["relays to 192.0.2.53"])?;
    site.put("etc/hawser/hawser.toml", "[dns]\nlisten = \"127.0.0.1:53\"\n")?;
    site.put("etc/resolv.conf", "nameserver 127.0.0.1\n")?;
    let seen = site.look("dns-loop").await?;
    seen.failed(&["names only the agent itself (127.0.0.1)"], "dns.upstreams")?;
    site.put("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n")?;
    site.look("dns-loop").await?.ok()?;

    let one = |status: &mut Value| {
        status["dns"]["resolvers"] = json!([resolver("127.0.0.53:53", "looping")]);
        status["dns"]["resolvers"][0]["program"] = json!("dnsmasq");
    };
    let joined = Joined::with("", one).await?;
    let seen = joined.look("dns-loop").await?;
    seen.failed(&["127.0.0.53:53 (dnsmasq)", "comes back"], "dns.upstreams")
}

fn resolver(address: &str, state: &str) -> Value {
    json!({
        "address": address, "transport": "udp", "state": state, "srtt_us": null, "asked": 3,
        "answered": 0, "failed": 3, "last_error": "timed out", "looping": state == "looping",
        "program": null,
    })
}

#[tokio::test]
async fn programs_that_ask_no_dns_are_told() -> Result<()> {
    let site = Site::new()?;
    site.look("nsswitch").await?.ok()?;
    site.put("etc/nsswitch.conf", "passwd: files\nhosts: files myhostname # dns\n")?;
    let seen = site.look("nsswitch").await?;
    seen.failed(&["hosts: files myhostname", "no name in DNS"], "hosts: files dns")
}

#[tokio::test]
async fn whoever_has_the_port_for_dns_is_named() -> Result<()> {
    let site = Site::new()?;
    site.look("dns-port").await?.says("ok", &["127.0.0.1:15053 is free"])?;
    site.put("proc/self/net/udp", &super::sockets(&[(15053, "07", 42)]))?;
    process(&site, 72, "dnsmasq", &[42])?;
    let seen = site.look("dns-port").await?;
    seen.failed(&["dnsmasq (pid 72) has 127.0.0.1:15053"], "dns.listen")?;

    process(&site, 72, "hawser", &[])?;
    site.look("dns-port").await?.says("ok", &["the agent listens"])
}

#[tokio::test]
async fn a_systemd_resolved_that_does_not_know_the_mesh_is_told() -> Result<()> {
    let site = Site::new()?;
    site.look("systemd-resolved").await?.ok()?;
    site.put("etc/hawser/hawser.toml", RESOLVED)?;
    let seen = site.look("systemd-resolved").await?;
    seen.failed(&["does not run"], "systemctl enable --now systemd-resolved")?;

    let joined = Joined::with(RESOLVED, |_| {}).await?;
    let site = &joined.site;
    site.put("run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n")?;
    let seen = joined.look("systemd-resolved").await?;
    seen.failed(&["no network interface hawser0"], "systemctl restart hawser-resolved")?;

    site.put("sys/class/net/hawser0/ifalias", "hawser\n")?;
    site.put("run/systemd/resolve/io.systemd.Resolve", "")?;
    let seen = joined.look("systemd-resolved").await?;
    seen.warns(&["does not lead to systemd-resolved", "go past it"], "ln -sf")?;

    site.put("etc/resolv.conf", "nameserver 127.0.0.53\n")?;
    site.program("usr/bin/resolvectl", "echo 'Link 9 (hawser0):'")?;
    let seen = joined.look("systemd-resolved").await?;
    seen.failed(&["no domains for hawser0"], "systemctl restart hawser-resolved")?;
    site.program("usr/bin/resolvectl", "echo 'Link 9 (hawser0): ~svc.cluster.local'")?;
    joined.look("systemd-resolved").await?.ok()?;

    super::agent::unit(
        site,
        "hawser-resolved",
        "ActiveState=failed\nResult=signal\nExecMainStatus=9",
    )?;
    let seen = joined.look("systemd-resolved").await?;
    seen.failed(&["hawser-resolved has failed", "signal 9"], "journalctl -u hawser-resolved")
}

const RESOLVED: &str = "[dns]\nmode = \"resolved\"\n";

#[tokio::test]
async fn a_port_for_dns_that_does_not_answer_is_named() -> Result<()> {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = silent.local_addr()?.to_string();
    let joined = Joined::with("", |status| status["dns"]["listen"] = json!([address])).await?;
    let seen = joined.look("dns-answers").await?;
    seen.failed(&[&address, "does not answer", "no answer within"], "systemctl restart hawser")
}

#[tokio::test]
async fn names_that_are_missing_or_old_are_told() -> Result<()> {
    let joined = Joined::with("", |_| {}).await?;
    joined.look("dns-table").await?.ok()?;
    let joined = Joined::with("", |status| status["dns"]["table"] = Value::Null).await?;
    joined.look("dns-table").await?.failed(&["no names of the mesh"], "--only istiod")?;

    let joined = Joined::with("", |status| status["dns"]["table"]["stale"] = json!(true)).await?;
    let seen = joined.look("dns-table").await?;
    seen.warns(&["istiod has not confirmed them since"], "--only istiod")
}

#[tokio::test]
async fn resolvers_that_are_silent_are_named() -> Result<()> {
    let all = |states: &'static [(&str, &str)]| {
        move |status: &mut Value| {
            let all: Vec<_> =
                states.iter().map(|(address, state)| resolver(address, state)).collect();
            status["dns"]["resolvers"] = json!(all);
        }
    };
    let joined =
        Joined::with("", all(&[("192.0.2.1:53", "silent"), ("192.0.2.2:53", "good")])).await?;
    let seen = joined.look("dns-upstreams").await?;
    seen.warns(&["192.0.2.2:53 good; but 192.0.2.1:53 silent (timed out)"], "dns.upstreams")?;

    let joined = Joined::with("", all(&[("192.0.2.1:53", "silent")])).await?;
    let seen = joined.look("dns-upstreams").await?;
    seen.failed(&["none answers: 192.0.2.1:53"], "dns.upstreams")?;

    let joined = Joined::with("", all(&[])).await?;
    joined.look("dns-upstreams").await?.failed(&["nobody to relay"], "dns.upstreams")
}

#[tokio::test]
async fn a_name_of_the_mesh_in_etc_hosts_is_named() -> Result<()> {
    let explained = json!({
        "name": "hello.demo", "kind": 1, "rule": "alias", "matched": "hello.demo",
        "search_domain": null, "entry": null, "tried": [], "does": "answers", "code": "NOERROR",
        "addresses": ["10.1.2.3"], "kept": null, "table": null, "resolvers": [], "hosts": [],
        "neighbours": [],
    });
    let path = "/dns/explain?name=hello.demo&type=1".to_owned();
    let answers = Answers::from([(path, explained.to_string())]);
    let joined = Joined::answering("", |_| {}, answers).await?;
    let hosts = "127.0.0.1 localhost\n192.0.2.9 istiod.example\n10.9.9.9 printer\n";
    joined.site.put("etc/hosts", hosts)?;
    joined.look("hosts-shadow").await?.ok()?;

    joined.site.put("etc/hosts", &format!("{hosts}10.1.2.3 hello.demo\n"))?;
    joined.look("hosts-shadow").await?.ok()?;

    joined.site.put("etc/hosts", &format!("{hosts}10.9.9.8 web Hello.demo. # old\n"))?;
    let seen = joined.look("hosts-shadow").await?;
    seen.warns(&["hello.demo as 10.9.9.8, in the mesh 10.1.2.3"], "/etc/hosts")
}

/// Something that gives every sign of life, as long as the test's process lives.
fn lives() -> Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            packet[2] |= 0x80;
            drop(socket.send_to(&packet[..length], from));
        }
    });
    Ok(address.to_string())
}

/// The one name of the mesh that the agent tells of.
fn table() -> Answers {
    let rows =
        format!("[\n{}\n]\n", json!({ "host": HOST, "addresses": ["10.1.2.3"], "aliases": [] }));
    Answers::from([("/dns/table".to_owned(), rows)])
}

const HOST: &str = "hello.demo.svc.cluster.local";

#[tokio::test]
async fn a_program_that_gets_something_else_is_told_by_why() -> Result<()> {
    let listen = lives()?;
    let lives = |status: &mut Value| status["dns"]["listen"] = json!([listen]);
    let joined = Joined::answering("", lives, table()).await?;
    let site = &joined.site;
    site.program(
        "usr/bin/getent",
        "[ \"$2\" = hello.demo.svc.cluster.local ] && echo '10.1.2.3 STREAM'",
    )?;
    joined.look("dns-host-path").await?.says("ok", &["is 10.1.2.3"])?;

    site.program("usr/bin/getent", "exit 2")?;
    let seen = joined.look("dns-host-path").await?;
    seen.failed(&["says nothing", "10.1.2.3", "not redirected"], "--only rules")?;

    site.put("etc/nsswitch.conf", "hosts: files resolve [!UNAVAIL=return] dns\n")?;
    let seen = joined.look("dns-host-path").await?;
    seen.failed(&["systemd-resolved without a packet"], "dns.mode = \"resolved\"")?;

    site.put("etc/nsswitch.conf", "hosts: files mdns4_minimal [NOTFOUND=return] dns\n")?;
    let seen = joined.look("dns-host-path").await?;
    seen.failed(&["answered by mDNS or not at all"], "before mdns4_minimal")?;

    site.program("usr/bin/getent", "echo '10.9.9.9 STREAM'")?;
    site.put("etc/hosts", &format!("127.0.0.1 localhost\n10.9.9.9 {HOST}\n"))?;
    let seen = joined.look("dns-host-path").await?;
    seen.failed(&["says 10.9.9.9", "line 2 of /etc/hosts"], "take it out of line 2")?;

    let off = Joined::answering("[intercept]\nenabled = false\n", lives, table()).await?;
    off.site.program("usr/bin/getent", "exit 2")?;
    let seen = off.look("dns-host-path").await?;
    seen.failed(&["nothing leads questions to the agent"], "intercept.dns = true")
}

#[tokio::test]
async fn mdns_before_a_mesh_below_local_is_told() -> Result<()> {
    let joined = Joined::answering("", |_| {}, table()).await?;
    joined.look("mdns").await?.ok()?;
    let site = &joined.site;
    site.put("etc/nsswitch.conf", "hosts: files mdns4_minimal [NOTFOUND=return] dns\n")?;
    site.program("usr/bin/getent", "exit 2")?;
    let seen = joined.look("mdns").await?;
    seen.warns(&["mdns4_minimal [NOTFOUND=return]", "cluster.local"], "before mdns4_minimal")?;

    // A version that leaves such names alone is no reason to warn.
    site.program("usr/bin/getent", "echo '10.1.2.3 STREAM'")?;
    joined.look("mdns").await?.ok()
}
