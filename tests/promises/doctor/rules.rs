//! Faults of rules: in what `nft` and iptables list, and in what the guard and the kernel say.

use std::{fs, path::Path, time::SystemTime};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    Fault, Site, program, put,
    stand_in::{Answers, Joined},
};

pub(super) const FAULTS: &[Fault] = &[
    ("nft", a_machine_without_nft_is_told_of_the_package),
    ("istio-rules", what_istio_iptables_has_left_is_named),
    ("ssh-spared", ssh_through_envoy_is_told),
    ("ipv6-redirected", ipv6_that_is_wanted_and_not_there_is_told),
    ("tproxy", what_tproxy_lacks_is_named),
    ("conntrack", a_table_of_connections_that_is_nearly_full_is_told),
    ("firewall", a_firewall_that_drops_what_was_redirected_is_named),
    ("iptables-legacy", rules_of_both_kinds_are_counted),
    ("containers", an_interface_that_is_not_there_is_named),
    ("intercept-unit", a_guard_that_has_failed_is_told_by_how_it_ended),
    ("rules-open", what_is_not_redirected_is_told_by_why),
    ("rules-loaded", rules_that_are_gone_or_changed_are_told),
    ("rules-drift", rules_that_somebody_removes_are_told),
];

/// A machine with nftables and no rules.
pub(super) fn healthy(root: &Path) -> Result<()> {
    let script = "place=\"${0%/usr/sbin/nft}/nft\"\n\
        case \"$*\" in\n\
        --version) echo 'nftables v1.1.3 (Commodore Bullmoose #4)';;\n\
        'list table '*) cat \"$place/$4\" 2>/dev/null || { echo 'Error: No such file or directory' >&2; exit 1; };;\n\
        *'list ruleset') cat \"$place/ruleset\" 2>/dev/null; exit 0;;\n\
        esac";
    program(root, "usr/sbin/nft", script)?;
    fs::create_dir_all(root.join("sys/class/net/lo"))?;
    put(root, "proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n")
}

#[tokio::test]
async fn a_machine_without_nft_is_told_of_the_package() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("nft").await?.says("ok", &["nftables v1.1.3"])?;
    let nft = joined.site.file("usr/sbin/nft");
    fs::remove_file(&nft)?;
    joined.site.program("usr/bin/apt-get", "exit 0")?;
    let seen = joined.look("nft").await?;
    seen.failed(&["no program `nft`"], "`apt-get install nftables`")?;

    joined.site.program("usr/sbin/iptables", "exit 0")?;
    joined.look("nft").await?.failed(&["only iptables"], "`apt-get install nftables`")?;

    joined.site.program("usr/sbin/nft", "echo 'libnftables.so.1: cannot open' >&2; exit 127")?;
    joined.look("nft").await?.failed(&["libnftables.so.1"], "install nftables")?;

    let without = Joined::alone("[intercept]\nenabled = false\n")?;
    fs::remove_file(without.site.file("usr/sbin/nft"))?;
    without.look("nft").await?.ok()
}

#[tokio::test]
async fn what_istio_iptables_has_left_is_named() -> Result<()> {
    let site = Site::new()?;
    site.look("istio-rules").await?.ok()?;
    let saved = "*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_REDIRECT - [0:0]\n\
                 -A PREROUTING -p tcp -j ISTIO_REDIRECT\nCOMMIT\n";
    site.program("usr/sbin/iptables-legacy-save", &format!("cat <<END\n{saved}END"))?;
    site.program("usr/sbin/iptables-legacy-restore", "exit 0")?;
    let seen = site.look("istio-rules").await?;
    seen.failed(&["iptables-legacy", "ISTIO_REDIRECT"], "hawser intercept adopt")?;

    let site = Site::new()?;
    site.put("nft/istio-proxy-nat", "table inet istio-proxy-nat {\n}\n")?;
    site.look("istio-rules").await?.failed(&["inet istio-proxy-nat"], "hawser intercept adopt")
}

#[tokio::test]
async fn ssh_through_envoy_is_told() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.site.put("etc/ssh/sshd_config", "Port 2222\n")?;
    joined.look("ssh-spared").await?.says("ok", &["22, 2222"])?;

    let joined = Joined::alone("[intercept]\nexclude_defaults = \"own,metadata,time\"\n")?;
    let seen = joined.look("ssh-spared").await?;
    seen.warns(&["port 22", "locks administrators out"], "exclude_inbound_ports")?;

    let joined = Joined::alone("[intercept]\ninbound_ports = \"80,2222\"\n")?;
    joined.site.put("etc/ssh/sshd_config", "Port 2222\n")?;
    joined.look("ssh-spared").await?.warns(&["port 2222"], "exclude_inbound_ports")
}

#[tokio::test]
async fn ipv6_that_is_wanted_and_not_there_is_told() -> Result<()> {
    let off = |joined: &Joined| joined.site.put("proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n");
    let joined = Joined::alone("")?;
    joined.look("ipv6-redirected").await?.ok()?;
    off(&joined)?;
    joined.look("ipv6-redirected").await?.ok()?;

    let joined = Joined::alone("[intercept]\nipv6 = true\n")?;
    joined.look("ipv6-redirected").await?.ok()?;
    off(&joined)?;
    let seen = joined.look("ipv6-redirected").await?;
    seen.warns(&["no IPv6", "told to do without"], "disable_ipv6=0")
}

#[tokio::test]
async fn what_tproxy_lacks_is_named() -> Result<()> {
    let joined = Joined::alone("[intercept]\nmode = \"tproxy\"\n")?;
    joined.site.put("etc/hawser/mesh/cluster.env", TPROXY)?;
    joined.look("tproxy").await?.ok()?;
    super::envoy::runs(&joined.site, 77, "{}")?;
    joined.site.put("proc/77/status", "Name:\tenvoy\nCapEff:\t0000000000000000\n")?;
    let seen = joined.look("tproxy").await?;
    seen.failed(&["without CAP_NET_ADMIN"], "AmbientCapabilities=CAP_NET_ADMIN")?;
    joined.site.put("proc/77/status", "Name:\tenvoy\nCapEff:\t0000000000001000\n")?;
    joined.look("tproxy").await?.ok()?;

    joined.site.put("proc/sys/net/ipv4/conf/all/src_valid_mark", "1\n")?;
    let seen = joined.look("tproxy").await?;
    seen.failed(&["src_valid_mark is 1", "wg-quick"], "src_valid_mark=0")
}

const TPROXY: &str = "ISTIO_SERVICE_CIDR='*'\nISTIO_INBOUND_PORTS='*'\nPOD_NAMESPACE='demo'\n\
                      ISTIO_META_INTERCEPTION_MODE='TPROXY'\n";

#[tokio::test]
async fn a_table_of_connections_that_is_nearly_full_is_told() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("conntrack").await?.ok()?;
    let put = |count: &str| {
        joined.site.put("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")?;
        joined.site.put("proc/sys/net/netfilter/nf_conntrack_count", count)
    };
    put("900\n")?;
    joined.look("conntrack").await?.says("ok", &["900 of 65536"])?;
    put("60000\n")?;
    let seen = joined.look("conntrack").await?;
    seen.warns(&["60000 of 65536", "new ones are dropped"], "nf_conntrack_max=262144")?;
    put("65536\n")?;
    joined.look("conntrack").await?.failed(&["65536 of 65536"], "nf_conntrack_max=")
}

#[tokio::test]
async fn a_firewall_that_drops_what_was_redirected_is_named() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("firewall").await?.ok()?;
    let locked = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\
                  \t\tct state related,established counter accept\n\t\ttcp dport 8080 counter accept\n\t}\n}\n";
    joined.site.put("nft/ruleset", locked)?;
    let seen = joined.look("firewall").await?;
    seen.warns(
        &["table ip filter", "port 15006", "before the firewall sees it"],
        "ct status dnat",
    )?;

    joined.site.put("etc/ufw/ufw.conf", "ENABLED=yes\n")?;
    joined.look("firewall").await?.warns(&["table ip filter"], "`ufw allow 15006/tcp`")?;
    joined.site.put("nft/ruleset", &locked.replace("8080", "15006"))?;
    joined.look("firewall").await?.ok()?;

    let saved =
        "cat <<END\n*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nEND";
    joined.site.program("usr/sbin/iptables-legacy-save", saved)?;
    joined.look("firewall").await?.warns(&["iptables-legacy, chain INPUT"], "ufw allow 15006")
}

#[tokio::test]
async fn rules_of_both_kinds_are_counted() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("iptables-legacy").await?.ok()?;
    joined.site.put("proc/net/ip_tables_names", "nat\nfilter\n")?;
    joined.site.program("usr/sbin/iptables-legacy-save", "echo '-A INPUT -j ACCEPT'")?;
    joined.look("iptables-legacy").await?.ok()?;
    joined.site.program("usr/sbin/iptables-nft-save", "echo '-A FORWARD -j DOCKER-USER'")?;
    let seen = joined.look("iptables-legacy").await?;
    seen.warns(&["1 rules of iptables-legacy, 1 of iptables-nft"], "update-alternatives")
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_named() -> Result<()> {
    let joined = Joined::alone("[intercept]\nvirtual_interfaces = \"docker0,br-*\"\n")?;
    let seen = joined.look("containers").await?;
    seen.warns(&["not here: docker0"], "`ip link`")?;

    fs::create_dir_all(joined.site.file("sys/class/net/docker0"))?;
    fs::create_dir_all(joined.site.file("sys/class/net/virbr0"))?;
    let seen = joined.look("containers").await?;
    seen.says("ok", &["docker0 (its containers reach", "virbr0 (its containers go past Envoy)"])
}

#[tokio::test]
async fn a_guard_that_has_failed_is_told_by_how_it_ended() -> Result<()> {
    let joined = Joined::alone("")?;
    joined.look("intercept-unit").await?.ok()?;
    let refused = "ActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=78";
    super::agent::unit(&joined.site, "hawser-intercept", refused)?;
    let seen = joined.look("intercept-unit").await?;
    seen.failed(&["ended with 78", "nftables is missing"], "--only nft")?;

    super::agent::unit(&joined.site, "hawser-intercept", "ActiveState=inactive\nSubState=dead")?;
    joined
        .look("intercept-unit")
        .await?
        .failed(&["is inactive"], "systemctl start hawser-intercept")
}

/// What a guard says that redirects all, but for what is changed in it.
fn says(site: &Site, change: impl FnOnce(&mut Value)) -> Result<()> {
    let now = now()?;
    let mut report = json!({
        "pid": 78, "phase": "redirecting", "since": now, "at": now, "envoy": true,
        "on_failure": "open", "gates": { "outbound": true, "inbound": true, "dns": true },
        "trial": null, "repairs": 0, "drift": null, "read": 1, "warnings": [], "trouble": null,
        "hits": [],
    });
    change(&mut report);
    site.put("run/hawser-intercept/state", &report.to_string())
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
}

/// How a report differs from that of rules that are in.
type Change = fn(&mut Value);

#[tokio::test]
async fn what_is_not_redirected_is_told_by_why() -> Result<()> {
    let joined = Joined::alone("")?;
    let seen = joined.look("rules-open").await?;
    seen.failed(&["nobody looks after the rules"], "systemctl start hawser-intercept")?;

    says(&joined.site, |_| {})?;
    joined.look("rules-open").await?.says("ok", &["redirects out, in, names"])?;

    let failures: [(Change, &[&str], &str); 4] = [
        (|it| it["at"] = json!(1), &["has said nothing for"], "systemctl restart hawser-intercept"),
        (|it| it["trouble"] = json!("nft: x"), &["nft: x"], "journalctl -u hawser-intercept"),
        (|it| it["phase"] = json!("waiting"), &["waits for Envoy", "does not yet"], "--only envoy"),
        (
            |it| it["phase"] = json!("lifted"),
            &["past it", "neither encrypted"],
            "restart hawser-envoy",
        ),
    ];
    for (change, words, remedy) in failures {
        says(&joined.site, change)?;
        joined.look("rules-open").await?.failed(words, remedy)?;
    }
    let warnings: [(Change, &[&str], &str); 3] = [
        (|it| it["trial"] = json!(99), &["on trial"], "hawser intercept confirm"),
        (|it| it["gates"]["dns"] = json!(false), &["not names"], "--only dns"),
        (
            |it| it["warnings"] = json!(["intercept.users: x"]),
            &["intercept.users: x"],
            "intercept plan",
        ),
    ];
    for (change, words, remedy) in warnings {
        says(&joined.site, change)?;
        joined.look("rules-open").await?.warns(words, remedy)?;
    }
    Ok(())
}

#[tokio::test]
async fn rules_that_are_gone_or_changed_are_told() -> Result<()> {
    let answers = Answers::from([("/intercept".to_owned(), "{\"vips\":[]}".to_owned())]);
    let joined = Joined::answering("", |_| {}, answers).await?;
    let seen = joined.look("rules-loaded").await?;
    seen.failed(&["no table inet hawser", "nft flush ruleset"], "hawser intercept apply")?;

    joined.site.put("nft/hawser", "table inet hawser {\n\tchain x {\n\t}\n}\n")?;
    joined.site.put("run/hawser-intercept/listing", "table inet hawser {\n}\n")?;
    let seen = joined.look("rules-loaded").await?;
    seen.failed(&["not as hawser has loaded it", "changed"], "hawser intercept diff")?;

    fs::remove_file(joined.site.file("run/hawser-intercept/listing"))?;
    joined.site.put("run/hawser-intercept/ruleset", "table inet hawser {\n}\n")?;
    let seen = joined.look("rules-loaded").await?;
    seen.warns(&["not what the settings mean now"], "hawser intercept diff")
}

#[tokio::test]
async fn rules_that_somebody_removes_are_told() -> Result<()> {
    let joined = Joined::alone("")?;
    let found = |at: u64| {
        move |report: &mut Value| {
            report["repairs"] = json!(2);
            report["drift"] = json!({ "at": at, "what": "the table was gone" });
        }
    };
    says(&joined.site, found(now()? - 60))?;
    let seen = joined.look("rules-drift").await?;
    seen.warns(&["put back 2 times", "the table was gone", "flush ruleset"], "journalctl")?;

    says(&joined.site, found(now()? - 100_000))?;
    joined.look("rules-drift").await?.ok()
}
