//! What the status port has besides the agent's own: metrics of others, and their probes.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use hawser_health::{Method, Probe};
use hawser_scrape::targets::{self, Target};

use super::{Reader, dns::Dns, envoy::Envoy, parse, problem::Problem, setting};

/// What the status port has besides the agent's own.
#[derive(Debug, Clone)]
pub struct Port {
    /// Whether Envoy's metrics are among those of the agent.
    pub envoy: bool,
    /// Programs whose metrics are.
    pub applications: Vec<Target>,
    /// How long one of these is waited for.
    pub timeout: Duration,
    /// How much one may say, in bytes.
    pub largest: u64,
    /// Whether metrics are for this machine alone.
    pub local_only: bool,
    /// What programs are asked for others, by the path that these ask for.
    pub probes: BTreeMap<String, Probe>,
    /// Whether they are asked at loopback.
    pub probes_at_loopback: bool,
}

impl Reader<'_> {
    pub(super) fn port(&mut self) -> Option<Port> {
        let envoy = self.required("metrics.envoy", parse::boolean);
        let applications = self.understood(APPLICATIONS, |text| {
            targets::parse(text).map_err(|unfit| unfit.to_string())
        });
        let timeout = self.required("metrics.timeout", |text| {
            parse::some_time(text).filter(|time| *time <= LONGEST)
        });
        let largest = self.required("metrics.largest", parse::bytes);
        let local_only = self.required("metrics.local_only", parse::boolean);
        let probes = self.understood("status.app_probes", probes);
        let at_loopback = self.required("status.app_probes_at_loopback", parse::boolean);
        Some(Port {
            envoy: envoy?,
            applications: applications?,
            timeout: timeout?,
            largest: largest?,
            local_only: local_only?,
            probes: probes?,
            probes_at_loopback: at_loopback?,
        })
    }

    /// A program cannot have its metrics where the agent or Envoy listens: they would ask themselves.
    pub(super) fn apart(
        &mut self,
        port: &Port,
        (envoy, status): (&Envoy, SocketAddr),
        dns: Option<&Dns>,
    ) {
        let own = [status.port(), envoy.admin_port, envoy.status_port, envoy.prometheus_port];
        let dns = dns.iter().flat_map(|dns| &dns.listen).map(SocketAddr::port);
        let taken: Vec<u16> = own.into_iter().chain(OF_ISTIO).chain(dns).collect();
        for Target { port, .. } in port.applications.iter().filter(|one| taken.contains(&one.port))
        {
            let expected = format!("the mesh has port {port} itself; expected one of a program");
            self.problems.push(Problem::with(APPLICATIONS, expected));
        }
    }

    /// A setting that says itself what is wrong with it.
    fn understood<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let known = self.known(key)?;
        let said = self.values.setting(known);
        match read(said.value.trim()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let expected = format!("{wrong}; expected {}", expected(key));
                self.problems.push(Problem::wrong(key, &said.value, &said.source, expected));
                None
            }
        }
    }
}

fn expected(key: &str) -> &'static str {
    setting::find(key).map_or("", |known| known.expected)
}

/// Reads `ISTIO_KUBE_APP_PROBERS`.
///
/// # Errors
///
/// The first thing that is wrong, with its path.
pub fn probes(text: &str) -> Result<BTreeMap<String, Probe>, String> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let said: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    if said.len() > MOST_PROBES {
        return Err(format!("more than {MOST_PROBES} probes"));
    }
    let read = |(path, value): (String, serde_json::Value)| {
        if !is_of_a_probe(&path) {
            return Err(format!("{path:?} is no path of a probe"));
        }
        let probe = Probe::read(&value).map_err(|problems| {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            format!("{path}: {}", problems.join("; "))
        })?;
        match probe.methods.as_slice() {
            [Method::Http(_) | Method::Tcp(_) | Method::Grpc(_)] => Ok((path, probe)),
            _ => Err(format!("{path}: expected one of httpGet, tcpSocket and grpc")),
        }
    };
    said.into_iter().map(read).collect()
}

/// `/app-health/NAME/readyz` and the like.
fn is_of_a_probe(path: &str) -> bool {
    let rest = WHERE.iter().find_map(|place| path.strip_prefix(place));
    let parts = rest.and_then(|rest| rest.split_once('/'));
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'?')
    };
    parts.is_some_and(|(name, what)| plain(name) && WHAT.contains(&what))
}

const APPLICATIONS: &str = "metrics.applications";
/// More than whoever scrapes waits for has no use.
const LONGEST: Duration = Duration::from_secs(50);
const MOST_PROBES: usize = 256;
const WHERE: [&str; 2] = ["/app-health/", "/app-lifecycle/"];
const WHAT: [&str; 5] = ["livez", "readyz", "startupz", "prestopz", "poststartz"];
const OF_ISTIO: [u16; 9] = [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_as_the_injector_writes_them() {
        let good = r#"{"/app-health/web/readyz":{"httpGet":{"path":"/ok","port":8080,
            "scheme":"HTTP"},"timeoutSeconds":3},"/app-health/db/livez":{"tcpSocket":{"port":5432}},
            "/app-lifecycle/web/prestopz":{"grpc":{"port":9000,"service":"x"}}}"#;
        let probes = probes(good).unwrap();
        let shown: Vec<_> =
            probes.iter().map(|(path, probe)| (path.as_str(), probe.timeout)).collect();
        let one = Duration::from_secs(1);
        assert_eq!(
            shown,
            [
                ("/app-health/db/livez", one),
                ("/app-health/web/readyz", 3 * one),
                ("/app-lifecycle/web/prestopz", one),
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_probe_is_said() {
        let table = [
            ("[]", "invalid type"),
            (r#"{"/healthz":{"tcpSocket":{"port":1}}}"#, "no path of a probe"),
            (r#"{"/app-health//livez":{"tcpSocket":{"port":1}}}"#, "no path of a probe"),
            (r#"{"/app-health/a/b/livez":{"tcpSocket":{"port":1}}}"#, "no path of a probe"),
            (r#"{"/app-health/a/other":{"tcpSocket":{"port":1}}}"#, "no path of a probe"),
            (r#"{"/app-health/a/livez":{}}"#, "does not say what to probe"),
            (r#"{"/app-health/a/livez":{"exec":{"command":["/bin/true"]}}}"#, "expected one of"),
            (r#"{"/app-health/a/livez":{"tcpSocket":{"port":0}}}"#, "port"),
        ];
        for (text, expected) in table {
            let wrong = probes(text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
        assert!(probes("").unwrap().is_empty());
    }
}
