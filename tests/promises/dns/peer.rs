//! What is answered is what any other server would answer that has the same names: unbound, here.
//! Where it is not, the difference is in the list, and why.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use hawser_harness::{
    dig::{Answer, Dig, Transport},
    free,
    mesh::OUTSIDE,
    wait::wait_for,
};
use hawser_proto::istio::nds::{NameInfo, NameTable};
use hickory_proto::rr::RecordType;
use tokio::process::{Child, Command};

use crate::{HAWSER, rig::Rig};

/// Names, and the addresses that both servers have for them.
const NAMES: [(&str, &[&str]); 5] = [
    ("one.demo.svc.cluster.local", &["10.0.0.1"]),
    ("dual.demo.svc.cluster.local", &["10.0.0.2", "2001:db8::2"]),
    ("six.demo.svc.cluster.local", &["2001:db8::6"]),
    ("several.demo.svc.cluster.local", &["10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.4"]),
    ("a.very-long-name-of-a-service.in-a.namespace.svc.cluster.local", &["10.0.0.9"]),
];
const KINDS: [RecordType; 8] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::SRV,
    RecordType::NS,
    RecordType::HTTPS,
    RecordType::CNAME,
];
/// What is different, and is meant to be: unbound has all of the zone, while istiod may leave a name
/// out that others know. So the resolver outside is asked, and its NXDOMAIN is passed on as it is.
const DIFFERENT: [&str; 2] = [
    "nobody.demo.svc.cluster.local aa: false, there true",
    "nobody.demo.svc.cluster.local authority: {}, there {\"SOA\"}",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_another_server_with_the_same_names() -> Result<()> {
    let rig = Rig::joined().await?;
    let (peer, _unbound) = unbound(&rig).await?;
    rig.mesh.istiod.world().change(|state| state.names(&table()));
    let _agent = rig.vm.start().await?;
    rig.names_known().await?;
    let ours = rig.dns().await?;

    let mut different = BTreeSet::new();
    let asked = NAMES.iter().map(|(name, _)| *name);
    for name in asked.chain([OUTSIDE, "nobody.example.org", "nobody.demo.svc.cluster.local"]) {
        for kind in KINDS {
            for (transport, edns) in
                [(Transport::Udp, None), (Transport::Udp, Some(1232)), (Transport::Tcp, None)]
            {
                let dig = Dig { name, kind, transport, edns };
                let (ours, theirs) = (dig.ask(ours).await?, dig.ask(peer).await?);
                compare(name, &ours, &theirs, &mut different);
            }
        }
    }

    let expected: BTreeSet<_> = DIFFERENT.iter().map(|text| (*text).to_owned()).collect();
    ensure!(different == expected, "{different:#?}");
    Ok(())
}

/// Says what is different between the two.
fn compare(name: &str, ours: &Answer, theirs: &Answer, different: &mut BTreeSet<String>) {
    for ((what, here), (_, there)) in said(ours).into_iter().zip(said(theirs)) {
        if here != there {
            different.insert(format!("{name} {what}: {here}, there {there}"));
        }
    }
}

/// An answer in words that can be compared.
fn said(answer: &Answer) -> [(&'static str, String); 8] {
    let message = &answer.message;
    let flags = &message.metadata;
    let records: BTreeSet<String> =
        message.answers.iter().map(|record| record.to_string().to_lowercase()).collect();
    let authority: BTreeSet<String> =
        message.authorities.iter().map(|record| record.record_type().to_string()).collect();
    [
        ("code", answer.code().to_string()),
        ("answers", format!("{records:?}")),
        ("authority", format!("{authority:?}")),
        ("aa", flags.authoritative.to_string()),
        ("ra", flags.recursion_available.to_string()),
        ("tc", flags.truncation.to_string()),
        ("rd", flags.recursion_desired.to_string()),
        ("opt", message.edns.is_some().to_string()),
    ]
}

fn table() -> NameTable {
    let entry = |(name, addresses): &(&str, &[&str])| {
        let info = NameInfo {
            ips: addresses.iter().map(|address| (*address).to_owned()).collect(),
            registry: "Kubernetes".to_owned(),
            ..NameInfo::default()
        };
        ((*name).to_owned(), info)
    };
    NameTable { table: NAMES.iter().map(entry).collect() }
}

/// The other server, with the same names and the same resolver behind it.
async fn unbound(rig: &Rig) -> Result<(SocketAddr, Child)> {
    let ip = Ipv4Addr::LOCALHOST.into();
    let address = SocketAddr::new(ip, free::port(ip)?);
    let outside = rig.mesh.outside.addr();
    let mut conf = format!(
        "server:\n interface: {}@{}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
         pidfile: \"\"\n directory: \"{}\"\n use-syslog: no\n do-not-query-localhost: no\n \
         module-config: \"iterator\"\n local-zone: \"svc.cluster.local.\" static\n \
         local-data: \"svc.cluster.local. 10 IN SOA svc.cluster.local. nobody.invalid. 1 3600 \
         1200 604800 10\"\n",
        address.ip(),
        address.port(),
        rig.vm.root().display(),
    );
    for (name, addresses) in NAMES {
        for address in addresses {
            let kind = if address.contains(':') { "AAAA" } else { "A" };
            conf.push_str(&format!(" local-data: \"{name}. 30 IN {kind} {address}\"\n"));
        }
    }
    conf.push_str(&format!(
        "remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n \
         forward-addr: {}@{}\n",
        outside.ip(),
        outside.port()
    ));
    let path = rig.vm.root().join("unbound.conf");
    put(&path, &conf)?;
    let mut command = program()?;
    command.args(["-d", "-c"]).arg(path).stdin(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().context("start unbound")?;
    wait_for("unbound", async || Dig::a(NAMES[0].0).ask(address).await).await?;
    Ok((address, child))
}

/// Unpacked by `tests/servers.sh`, or installed.
fn program() -> Result<Command> {
    let servers = Path::new(HAWSER).ancestors().nth(2).context("a directory")?.join("servers");
    let places = [servers.join("usr/sbin/unbound"), PathBuf::from("/usr/sbin/unbound")];
    let program = places.into_iter().find(|place| place.exists());
    let mut command =
        Command::new(program.context(
            "there is no unbound to compare with: `make tools` unpacks it, or install it",
        )?);
    if let Ok(libraries) = fs::read_dir(servers.join("usr/lib")) {
        let paths = libraries.filter_map(Result::ok).map(|entry| entry.path());
        command.env("LD_LIBRARY_PATH", std::env::join_paths(paths)?);
    }
    Ok(command)
}

#[expect(clippy::disallowed_methods, reason = "nobody reads it while it is written")]
fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
