//! What can be said of interception, in Istio's words and in ours, and what is said about mistakes.

use super::*;
use crate::config::{
    Config,
    paths::Paths,
    source::{self, Environment, Flag},
};

/// What comes of these variables and settings, or what is said about them.
fn config(variables: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Config, String> {
    let root = tempfile::tempdir().unwrap();
    let flag = |&(key, value): &(&str, &str)| Flag {
        name: "--set",
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let flags: Vec<_> = settings.iter().map(flag).collect();
    let paths = Paths::under(root.path());
    let pair = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let environment: Environment = variables.iter().map(pair).collect();
    let sources = source::read(&paths, &environment, &flags);
    Config::load(&paths, &sources).map_err(|problems| problems.to_string())
}

fn of(variables: &[(&str, &str)]) -> Intercept {
    config(variables, &[]).unwrap().intercept
}

fn set(key: &str, value: &str) -> Result<Intercept, String> {
    config(&[], &[(key, value)]).map(|config| config.intercept)
}

fn one(port: u16) -> Ports {
    Ports::one(port)
}

#[test]
fn a_machine_without_a_word_of_istio_redirects_nothing() {
    let intercept = of(&[]);
    assert!(intercept.enabled && intercept.inbound.ports.is_nothing());
    assert!(intercept.outbound.networks.is_nothing() && !intercept.dns);
    assert_eq!((intercept.mode, intercept.spared), (Mode::Redirect, Spared::ALL.to_vec()));
    assert_eq!((intercept.on_failure, intercept.hold.as_secs()), (OnFailure::Hold, 30));
}

#[test]
fn what_istioctl_writes_is_everything_both_ways_and_dns() {
    let intercept = of(&[
        ("ISTIO_INBOUND_PORTS", "*"),
        ("ISTIO_LOCAL_EXCLUDE_PORTS", "22,15090,15021,15020"),
        ("ISTIO_SERVICE_CIDR", "*"),
        ("ISTIO_META_DNS_CAPTURE", "true"),
    ]);
    assert_eq!(intercept.inbound.ports, Taken::All);
    assert_eq!(intercept.inbound.exclude, [22, 15090, 15021, 15020].map(one));
    assert_eq!(intercept.outbound.networks, Taken::All);
    assert!(intercept.dns && intercept.unheeded.is_empty());
}

#[test]
fn every_variable_of_istio_means_what_it_means_there() {
    let intercept = of(&[
        ("ISTIO_INBOUND_INTERCEPTION_MODE", "TPROXY"),
        ("ISTIO_INBOUND_TPROXY_MARK", "1338"),
        ("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "134"),
        ("ISTIO_INBOUND_PORTS", "8080, 9090,"),
        ("ISTIO_SERVICE_CIDR", "10.1.2.3/8,fd00::/8"),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", "10.1.0.0/16"),
        ("ISTIO_OUTBOUND_PORTS", "443"),
        ("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "2049"),
        ("ISTIO_EXCLUDE_INTERFACES", "eth1,wg+"),
        ("KUBE_VIRT_INTERFACES", "docker0"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS", "web,1000"),
        ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "root"),
        ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.0/8"),
        ("PROXY_UID", "1337,0"),
        ("PROXY_GID", "1337"),
        ("INBOUND_CAPTURE_PORT", "16006"),
        ("INBOUND_TUNNEL_PORT", "16008"),
        ("CAPTURE_ALL_DNS", "1"),
        ("INVALID_DROP", "true"),
    ]);
    let cidr = |text: &str| text.parse::<Cidr>().unwrap();
    assert_eq!((intercept.mode, intercept.steer), (Mode::Tproxy, Steer { mark: 1338, table: 134 }));
    assert_eq!(intercept.inbound.ports, Taken::Only(vec![one(8080), one(9090)]));
    let outbound = intercept.outbound;
    assert_eq!(outbound.networks, Taken::Only(vec![cidr("10.0.0.0/8"), cidr("fd00::/8")]));
    assert_eq!(outbound.exclude, [cidr("10.1.0.0/16")]);
    assert_eq!((outbound.ports, outbound.exclude_ports), (vec![one(443)], vec![one(2049)]));
    assert_eq!(outbound.loopback, cidr("127.0.0.0/8"));
    assert_eq!(intercept.interfaces.exclude, ["eth1", "wg*"]);
    assert_eq!(intercept.interfaces.virtuals, ["docker0"]);
    assert_eq!(intercept.scope.groups, Taken::Only(vec!["web".into(), "1000".into()]));
    assert_eq!(intercept.scope.exclude_groups, ["root"]);
    assert_eq!(intercept.proxy_users, Some(vec![1337, 0]));
    assert_eq!(intercept.proxy_groups, Some(vec![1337]));
    assert_eq!(intercept.envoy, Envoy { outbound: 15001, inbound: 16006, tunnel: 16008 });
    assert!(intercept.dns_all && intercept.drop_invalid);
}

#[test]
fn an_empty_list_of_groups_is_nobody_and_one_that_is_not_there_is_everybody() {
    let groups = |variables| of(variables).scope.groups;
    assert_eq!(groups(&[]), Taken::All);
    assert_eq!(groups(&[("ISTIO_OUTBOUND_OWNER_GROUPS", "")]), Taken::Only(Vec::new()));
    assert_eq!(groups(&[("ISTIO_OUTBOUND_OWNER_GROUPS", "*")]), Taken::All);
    assert_eq!(set("intercept.groups", "").unwrap().scope.groups, Taken::Only(Vec::new()));
}

#[test]
fn rules_of_ones_own_are_said_in_istios_words_or_in_ours() {
    let custom = [("ISTIO_CUSTOM_IP_TABLES", "true")];
    assert!(!of(&custom).enabled);
    assert!(of(&[("ISTIO_CUSTOM_IP_TABLES", "false")]).enabled);
    assert!(!set("intercept.enabled", "false").unwrap().enabled);
    assert!(config(&custom, &[("intercept.enabled", "true")]).unwrap().intercept.enabled);
}

#[test]
fn what_istio_takes_for_not_said_without_a_word_is_told() {
    let intercept = of(&[
        ("ISTIO_INBOUND_INTERCEPTION_MODE", "TRPOXY"),
        ("CAPTURE_ALL_DNS", "yes"),
        ("DROP_INVALID", "on"),
    ]);
    assert_eq!((intercept.mode, intercept.dns_all), (Mode::Redirect, false));
    assert_eq!(
        intercept.unheeded,
        [
            r#"intercept.mode = "TRPOXY" (from $ISTIO_INBOUND_INTERCEPTION_MODE) means nothing: expected redirect, tproxy or none; redirect holds"#,
            r#"intercept.dns_all = "yes" (from $CAPTURE_ALL_DNS) means nothing: expected true or false; false holds"#,
            r#"intercept.drop_invalid = "on" (from $DROP_INVALID) means nothing: expected true or false; false holds"#,
        ]
    );
}

#[test]
fn what_istiod_has_to_know_too_is_told_until_it_does() {
    let mode = ("ISTIO_INBOUND_INTERCEPTION_MODE", "TPROXY");
    assert_eq!(of(&[mode]).unheeded, [ISTIOD_DECIDES]);
    assert!(of(&[mode, ("ISTIO_META_INTERCEPTION_MODE", "TPROXY")]).unheeded.is_empty());
}

#[test]
fn variables_that_nobody_reads_are_told() {
    let config = config(
        &[
            ("ENVOY_PORT", "15001"),
            ("ISTIO_INBOUND_EXCLUDE_PORTS", "22"),
            ("DUAL_STACK", "true"),
            ("FORCE_IPTABLES_BINARY", "legacy"),
            ("CAPTURE_ALL_DNS", "yes"),
        ],
        &[],
    );
    let told = crate::options::unheeded(&config.unwrap());
    for name in ["ENVOY_PORT", "ISTIO_INBOUND_EXCLUDE_PORTS", "DUAL_STACK", "FORCE_IPTABLES"] {
        assert!(told.iter().any(|told| told.starts_with(name)), "{name}: {told:?}");
    }
    assert!(told.iter().any(|told| told.starts_with("intercept.dns_all")), "{told:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_all_at_once() {
    let bad = [
        ("intercept.enabled", "on"),
        ("intercept.mode", "TRPOXY"),
        ("intercept.inbound_ports", "80,http"),
        ("intercept.exclude_inbound_ports", "*"),
        ("intercept.outbound_cidrs", "10.0.0.0/33"),
        ("intercept.exclude_outbound_cidrs", "*"),
        ("intercept.outbound_ports", "90-80"),
        ("intercept.exclude_outbound_ports", "0"),
        ("intercept.exclude_defaults", "ssh,nfs"),
        ("intercept.exclude_interfaces", "eth 0"),
        ("intercept.virtual_interfaces", "a-name-that-is-too-long"),
        ("intercept.groups", "a\"b"),
        ("intercept.units", "web"),
        ("intercept.dns", "yes"),
        ("intercept.loopback", "10.0.0.0/8"),
        ("intercept.proxy_users", "nobody knows"),
        ("intercept.tproxy_mark", "0"),
        ("intercept.tproxy_table", "254"),
        ("intercept.on_failure", "maybe"),
        ("intercept.hold", "soon"),
    ];
    let said = config(&[], &bad).unwrap_err();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), bad.len(), "{said}");
    for (key, value) in bad {
        let expected = format!("{key} = {value:?} (from --set): expected ");
        assert!(lines.iter().any(|line| line.starts_with(&expected)), "{key}: {said}");
    }
}

#[test]
fn every_default_that_is_spared_can_be_taken_back() {
    let spared = |text| set("intercept.exclude_defaults", text).unwrap().spared;
    assert_eq!(spared("ssh, own,time"), [Spared::Ssh, Spared::Own, Spared::Time]);
    assert_eq!(spared(""), []);
}

#[test]
fn what_the_plan_is_told_comes_from_the_rest_of_the_configuration_too() {
    let plan = |settings: &[(&str, &str)]| {
        crate::options::intercept(&config(&[("ISTIO_META_DNS_CAPTURE", "true")], settings).unwrap())
    };
    let own = plan(&[("envoy.admin_port", "16000"), ("status.listen", "127.0.0.1:16020")]);
    assert_eq!(own.own_ports, [15021, 15053, 15090, 16000, 16020]);
    assert_eq!(own.dns.unwrap().listen, ["127.0.0.1:15053".parse().unwrap()]);
    // systemd-resolved sends what is for us; and without the proxy nobody would answer.
    assert_eq!(plan(&[("dns.mode", "resolved")]).dns, None);
    assert_eq!(plan(&[("dns.enabled", "false")]).dns, None);
}
