//! Every setting there is: its name, who else may say it, its default and what it means.
//!
//! This table is the only list: the parser, `hawser config` and the commented configuration file
//! of the package are made from it.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The name in `hawser.toml`, dotted. `HAWSER_` + upper case with `_` in the environment.
    pub key: &'static str,
    /// Istio's variables for the same thing, the stronger one last.
    pub variables: &'static [&'static str],
    /// What holds when nobody says anything; empty where it depends on the machine.
    pub default: &'static str,
    /// What a value has to look like.
    pub expected: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
}

/// The setting with this name.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The setting that this variable of Istio stands for.
pub fn of_variable(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variables.contains(&name))
}

/// The setting that this variable of ours (`HAWSER_DNS_LISTEN`) stands for.
pub fn of_own_variable(name: &str) -> Option<&'static Setting> {
    let wanted = name.strip_prefix(OWN_PREFIX)?;
    SETTINGS.iter().find(|setting| own_variable(setting).eq(wanted.chars()))
}

/// What our own variables begin with.
pub const OWN_PREFIX: &str = "HAWSER_";

/// The known name that differs from `key` in the fewest letters, if it is near at all.
pub fn nearest(key: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(key, setting.key), setting.key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, key)| key)
}

fn own_variable(setting: &Setting) -> impl Iterator<Item = char> {
    setting.key.chars().map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() })
}

/// The number of letters to insert, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let changed = before + usize::from(x != *y);
            before = *cell;
            left = changed.min(before + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

const ADDRESS: &str = "host:port";
const SOCKET: &str = "ip:port";
const PORT: &str = "a port, 1 to 65535";
const BOOLEAN: &str = "true or false";
const DURATION: &str = "a duration such as 5s, 100ms or 1h30m";
const FILE: &str = "an absolute path";

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "node.ip",
        variables: &["INSTANCE_IP", "ISTIO_SVC_IP"],
        default: "",
        expected: "an IP address",
        about: "The address under which the mesh reaches this machine; else the first of its interfaces.",
    },
    Setting {
        key: "node.name",
        variables: &["POD_NAME"],
        default: "",
        expected: "a name (letters, digits, - . _)",
        about: "The name of this machine in the mesh; else its short host name.",
    },
    Setting {
        key: "node.namespace",
        variables: &["POD_NAMESPACE", "ISTIO_NAMESPACE"],
        default: "default",
        expected: "a Kubernetes namespace",
        about: "The namespace that the workload belongs to.",
    },
    Setting {
        key: "node.service_account",
        variables: &["SERVICE_ACCOUNT"],
        default: "default",
        expected: "a Kubernetes service account",
        about: "The service account that the workload runs as.",
    },
    Setting {
        key: "node.trust_domain",
        variables: &["TRUST_DOMAIN"],
        default: "cluster.local",
        expected: "a trust domain",
        about: "The trust domain of the mesh.",
    },
    Setting {
        key: "node.domain",
        variables: &[],
        default: "",
        expected: "a DNS domain",
        about: "The DNS domain of the workload; else NAMESPACE.svc.cluster.local.",
    },
    Setting {
        key: "node.service",
        variables: &["ISTIO_SERVICE"],
        default: "",
        expected: "a name (letters, digits, - . _)",
        about: "The service cluster in Envoy's node; else taken from labels and workload name.",
    },
    Setting {
        key: "istiod.address",
        variables: &["PILOT_ADDRESS"],
        default: "istiod.istio-system.svc:15012",
        expected: ADDRESS,
        about: "Where istiod serves xDS (discoveryAddress).",
    },
    Setting {
        key: "istiod.ca_address",
        variables: &["CA_ADDR"],
        default: "",
        expected: ADDRESS,
        about: "Where certificates are signed; else istiod.address.",
    },
    Setting {
        key: "istiod.server_name",
        variables: &["ISTIOD_SAN"],
        default: "",
        expected: "a DNS name",
        about: "The name istiod's certificate has to carry; else the host of its address.",
    },
    Setting {
        key: "istiod.root_cert",
        variables: &["XDS_ROOT_CA"],
        default: "",
        expected: "an absolute path, or SYSTEM",
        about: "The roots istiod's certificate has to chain to; else root-cert.pem of the bundle.",
    },
    Setting {
        key: "istiod.ca_root_cert",
        variables: &["CA_ROOT_CA"],
        default: "",
        expected: "an absolute path, or SYSTEM",
        about: "The same for the address that signs certificates.",
    },
    Setting {
        key: "istiod.token",
        variables: &[],
        default: "",
        expected: FILE,
        about: "The token that is exchanged for the first certificate; else istio-token of the bundle.",
    },
    Setting {
        key: "istiod.connect_timeout",
        variables: &[],
        default: "10s",
        expected: DURATION,
        about: "How long one address of istiod may take to answer.",
    },
    Setting {
        key: "identity.ttl",
        variables: &["SECRET_TTL"],
        default: "24h",
        expected: DURATION,
        about: "The lifetime to ask for.",
    },
    Setting {
        key: "identity.key",
        variables: &[],
        default: "ecdsa-p256",
        expected: "ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096",
        about: "The kind of key to make.",
    },
    Setting {
        key: "identity.signer",
        variables: &["ISTIO_META_CERT_SIGNER"],
        default: "",
        expected: "the name of a signer",
        about: "The signer that istiod shall use, where it has several.",
    },
    Setting {
        key: "xds.delta",
        variables: &["ISTIO_DELTA_XDS"],
        default: "true",
        expected: BOOLEAN,
        about: "Whether Envoy asks for differences (delta) or for whole sets.",
    },
    Setting {
        key: "dns.enabled",
        variables: &[],
        default: "true",
        expected: BOOLEAN,
        about: "Whether mesh names are answered on this machine.",
    },
    Setting {
        key: "dns.listen",
        variables: &["DNS_PROXY_ADDR"],
        default: "127.0.0.1:15053",
        expected: SOCKET,
        about: "Where programs ask, over UDP and TCP; several are separated by commas.",
    },
    Setting {
        key: "dns.upstreams",
        variables: &[],
        default: "",
        expected: SOCKET,
        about: "Who answers names outside the mesh, separated by commas; else dns.resolv_conf.",
    },
    Setting {
        key: "dns.resolv_conf",
        variables: &[],
        default: "/etc/resolv.conf",
        expected: FILE,
        about: "Where the resolvers and search domains of this machine are listed.",
    },
    Setting {
        key: "dns.timeout",
        variables: &["DNS_FORWARD_TIMEOUT"],
        default: "5s",
        expected: DURATION,
        about: "How long a program is made to wait for other resolvers.",
    },
    Setting {
        key: "envoy.binary",
        variables: &[],
        default: "",
        expected: FILE,
        about: "Foreground mode: the Envoy to start and keep running (--envoy).",
    },
    Setting {
        key: "envoy.flavour",
        variables: &[],
        default: "stock",
        expected: "stock or istio",
        about: "Whose build of Envoy it is: istio adds what only Istio's proxy can load.",
    },
    Setting {
        key: "envoy.admin_port",
        variables: &[],
        default: "15000",
        expected: PORT,
        about: "Envoy's admin interface, on loopback (proxyAdminPort).",
    },
    Setting {
        key: "envoy.status_port",
        variables: &["ENVOY_STATUS_PORT"],
        default: "15021",
        expected: PORT,
        about: "Where Envoy answers /healthz/ready.",
    },
    Setting {
        key: "envoy.prometheus_port",
        variables: &["ENVOY_PROMETHEUS_PORT"],
        default: "15090",
        expected: PORT,
        about: "Where Envoy answers /stats/prometheus.",
    },
    Setting {
        key: "envoy.dual_stack",
        variables: &["ISTIO_DUAL_STACK"],
        default: "false",
        expected: BOOLEAN,
        about: "Whether Envoy serves both address families.",
    },
    Setting {
        key: "envoy.concurrency",
        variables: &[],
        default: "0",
        expected: "a number of threads, 0 for one per core",
        about: "Envoy's worker threads (concurrency).",
    },
    Setting {
        key: "envoy.log_level",
        variables: &[],
        default: "warning",
        expected: "trace, debug, info, warning, error, critical or off; or component:level,...",
        about: "How much Envoy logs.",
    },
    Setting {
        key: "envoy.drain",
        variables: &[],
        default: "5s",
        expected: DURATION,
        about: "How long connections may finish when Envoy stops (terminationDrainDuration).",
    },
    Setting {
        key: "status.listen",
        variables: &[],
        default: "127.0.0.1:15020",
        expected: SOCKET,
        about: "Where the agent answers /healthz/ready; Envoy's status port asks here (statusPort).",
    },
    Setting {
        key: "log.level",
        variables: &[],
        default: "info",
        expected: "error, warn, info, debug, trace or off; or target=level,...",
        about: "How much the agent logs.",
    },
    Setting {
        key: "log.format",
        variables: &[],
        default: "auto",
        expected: "auto, text, json or journal",
        about: "How it logs; auto is journal under systemd and text elsewhere.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_for_one_setting() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        let variables: Vec<_> = SETTINGS.iter().flat_map(|s| s.variables).collect();

        assert_eq!(keys.len(), SETTINGS.len());
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn our_variables_are_the_keys_in_upper_case() {
        assert_eq!(of_own_variable("HAWSER_DNS_LISTEN"), find("dns.listen"));
        assert_eq!(of_own_variable("HAWSER_ISTIOD_CA_ADDRESS"), find("istiod.ca_address"));
        assert_eq!(of_own_variable("HAWSER_DNS"), None);
        assert_eq!(of_own_variable("DNS_LISTEN"), None);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(nearest("dns.lissten"), Some("dns.listen"));
        assert_eq!(nearest("istiod.adress"), Some("istiod.address"));
        assert_eq!(nearest("something.else"), None);
    }
}
