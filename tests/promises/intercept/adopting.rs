//! What Istio's own scripts have left is removed, by whichever program it was made, and nothing
//! else.

use anyhow::{Context as _, Result, ensure};

use super::host::Host;

/// As those scripts make it, in the words of `iptables-restore`.
const CHAINS: &str = "*mangle\n:ISTIO_INBOUND - [0:0]\n:ISTIO_DIVERT - [0:0]\n:ISTIO_TPROXY - [0:0]\n\
    -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
    -A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark\n\
    -A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN\n\
    -A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark\n\
    -A ISTIO_DIVERT -j MARK --set-mark 1337\n-A ISTIO_DIVERT -j ACCEPT\n\
    -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT\n\
    -A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY\nCOMMIT\n\
    *nat\n:ISTIO_INBOUND - [0:0]\n:ISTIO_REDIRECT - [0:0]\n:ISTIO_IN_REDIRECT - [0:0]\n\
    :ISTIO_OUTPUT - [0:0]\n:ISTIO_OUTPUT_DNS - [0:0]\n\
    -A PREROUTING -p tcp -j ISTIO_INBOUND\n-A OUTPUT -j ISTIO_OUTPUT\n\
    -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
    -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
    -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
    -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n\
    -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n\
    -A ISTIO_OUTPUT -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT\n\
    -A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\n\
    -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-ports 15053\n\
    -A ISTIO_OUTPUT -j ISTIO_REDIRECT\nCOMMIT\n\
    *raw\n:ISTIO_OUTPUT_DNS - [0:0]\n-A OUTPUT -j ISTIO_OUTPUT_DNS\n\
    -A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2\nCOMMIT\n";

/// What others have in the same places.
/// A chain of the system that is first used is made, and stays; so all of them are in use before.
const OTHERS: &str = "*mangle\n-A PREROUTING -p tcp -m mark --mark 0x2 -j ACCEPT\n\
    -A OUTPUT -p tcp -m mark --mark 0x1 -j ACCEPT\nCOMMIT\n\
    *nat\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
    -A DOCKER -p tcp --dport 9 -m comment --comment \"no -j ISTIO_INBOUND\" -j RETURN\n\
    -A OUTPUT -p tcp --dport 9 -j RETURN\nCOMMIT\n\
    *raw\n-A OUTPUT -p udp --dport 9 -j NOTRACK\nCOMMIT\n";

#[test]
fn leftovers_are_shown_then_removed_and_nothing_else() -> Result<()> {
    let host = Host::new("")?;
    let families = ["iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft"];
    let restore = |text: &str| {
        families.iter().try_for_each(|family| {
            let command = format!("{family}-restore --noflush <<'END'\n{text}END");
            host.succeed(&["sh", "-c", &command]).map(drop).context(*family)
        })
    };
    restore(OTHERS).context("iptables is wanted for this test; `tests/tools.sh` installs it")?;
    host.succeed(&["ip", "rule", "add", "fwmark", "0x1", "lookup", "133"])?;
    host.succeed(&["nft", "add table inet istio-proxy-mine"])?;
    let look = || -> Result<String> {
        let saved = families.iter().map(|family| {
            let saved = host.succeed(&[&format!("{family}-save")])?;
            let rules = saved.lines().filter(|line| !line.starts_with('#'));
            let plain = rules.map(|line| line.split(" [").next().unwrap_or(line));
            Ok(plain.map(|line| format!("{line}\n")).collect::<String>())
        });
        Ok(saved.collect::<Result<String>>()? + &host.everything()?)
    };
    let before = look()?;
    ensure!(host.intercept(&["adopt"])?.contains("nothing of istio-iptables is here"));

    restore(CHAINS)?;
    for table in ["istio-proxy-nat", "istio-proxy-mangle", "istio-proxy-raw"] {
        host.succeed(&["nft", &format!("add table inet {table}; add chain inet {table} x")])?;
    }
    // Each start of theirs adds one more.
    for preference in ["100", "101"] {
        host.succeed(&[
            "ip", "rule", "add", "pref", preference, "fwmark", "1337", "lookup", "133",
        ])?;
    }
    host.succeed(&["ip", "-6", "rule", "add", "fwmark", "1337", "lookup", "133"])?;
    for version in ["-4", "-6"] {
        let route =
            ["ip", version, "route", "add", "local", "default", "dev", "lo", "table", "133"];
        host.succeed(&route)?;
    }
    host.succeed(&["ip", "address", "add", "::6/128", "dev", "lo"])?;
    let with = look()?;

    let planned = host.intercept(&["adopt", "--plan"])?;
    for line in [
        "would remove nft table inet istio-proxy-nat",
        "would remove iptables-legacy -t nat: chain ISTIO_OUTPUT",
        "would remove ip6tables-nft -t nat: -A OUTPUT -j ISTIO_OUTPUT",
        "would remove ip rule fwmark 0x539 lookup 133",
        "would remove ip -6 route local default dev lo table 133",
        "would remove address ::6/128 of lo",
    ] {
        ensure!(planned.contains(line), "{line}:\n{planned}");
    }
    ensure!(look()? == with, "a plan changes nothing");

    host.intercept(&["adopt"])?;
    let after = look()?;
    ensure!(after == before, "after:\n{after}\nbefore:\n{before}");
    ensure!(host.intercept(&["adopt"])?.contains("nothing of istio-iptables is here"));
    Ok(())
}
