//! `/app-health/...` and `/app-lifecycle/...`: a program of this machine is asked for somebody who
//! could not ask it himself, as kubelet, or a load balancer, past mutual TLS.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use hawser_health::{Http, Method, Probe};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use tracing::debug;

use super::super::{
    Facts,
    web::{Reply, TEXT, whole},
};

/// What is asked for whom, by the path at the status port.
#[derive(Debug, Clone, Default)]
pub struct Probes {
    /// One question each.
    pub paths: BTreeMap<String, Probe>,
    /// Where the program is asked.
    pub at: At,
    /// The agent's own port, which is not the program's.
    pub port: u16,
}

/// Where a program is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    /// At the address that the mesh knows.
    #[default]
    Machine,
    /// At loopback, as in Istio of before.
    Loopback,
}

impl Probes {
    pub(super) async fn answer(&self, path: &str, told: &HeaderMap, facts: &Facts) -> Reply {
        let probe = self.paths.get(path);
        let Some((probe, method)) = probe.and_then(|probe| Some((probe, probe.methods.first()?)))
        else {
            return whole(StatusCode::BAD_REQUEST, TEXT, NOT_CONFIGURED);
        };
        let first = match self.at {
            At::Machine => facts.node.borrow().ips.first().copied(),
            At::Loopback => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        let asked = match method {
            Method::Http(http) => {
                let http = Http { headers: self.headers(http, told), ..http.clone() };
                let page = hawser_health::page(&http, first, probe.timeout).await;
                page.map(|page| whole(page.status, TEXT, page.body))
            }
            other => hawser_health::once(other, first, probe.timeout)
                .await
                .map(|()| whole(StatusCode::OK, TEXT, "")),
        };
        asked.unwrap_or_else(|reason| {
            debug!(name = path, reason, "program not well");
            whole(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{reason}\n"))
        })
    }

    /// What whoever asks has said, and over it what is configured.
    fn headers(&self, http: &Http, told: &HeaderMap) -> HeaderMap {
        let mut headers = told.clone();
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        if let Some(host) = headers.remove(HOST).and_then(|host| self.host(&host, http.port)) {
            headers.insert(HOST, host);
        }
        let mut last: Option<&HeaderName> = None;
        for (name, value) in &http.headers {
            // Several of a name come one after the other.
            if last == Some(name) {
                headers.append(name, value.clone());
            } else {
                headers.insert(name, value.clone());
            }
            last = Some(name);
        }
        headers
    }

    /// With the port of the program instead of the agent's.
    fn host(&self, host: &HeaderValue, port: u16) -> Option<HeaderValue> {
        let text = host.to_str().ok()?;
        match text.rsplit_once(':') {
            Some((name, said)) if said.parse() == Ok(self.port) => {
                HeaderValue::try_from(format!("{name}:{port}")).ok()
            }
            _ => Some(host.clone()),
        }
    }
}

const NOT_CONFIGURED: &str = "no such probe is configured; status.app_probes (ISTIO_KUBE_APP_PROBERS) says which there are\n";
const OF_THE_CONNECTION: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_pass_but_for_those_of_the_connection_and_what_is_configured_wins() {
        let probe = serde_json::json!({"httpGet": {"port": 8080, "httpHeaders": [
            {"name": "x-a", "value": "1"}, {"name": "x-a", "value": "2"}]}});
        let probe = Probe::read(&probe).unwrap();
        let [Method::Http(http)] = &probe.methods[..] else { panic!("{probe:?}") };
        let told = [
            ("host", "vm.example:15020"),
            ("connection", "close"),
            ("x-a", "said"),
            ("x-b", "said"),
        ];
        let told = told
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let probes = Probes { port: 15020, ..Probes::default() };

        let headers = probes.headers(http, &told.into_iter().collect());

        let mut shown: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        shown.sort();
        assert_eq!(shown, ["host: vm.example:8080", "x-a: 1", "x-a: 2", "x-b: said"]);
        let other = HeaderValue::from_static("vm.example:99");
        assert_eq!(probes.host(&other, 8080), Some(other));
    }
}
