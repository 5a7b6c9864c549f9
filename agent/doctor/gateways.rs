//! Checks of gateways to other networks: what Envoy has to send through them, and whether they are
//! there.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    time::Duration,
};

use hawser_envoy::admin::Admin;
use hawser_rt::Chain;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::{Check, Finding, Patient};

pub(super) const CHECKS: &[Check] = &[Check {
    name: "gateways-reachable",
    asks: "Do the gateways to other networks take connections?",
    needs: &[],
    network: true,
    joined: true,
    look: |patient| Box::pin(reachable(patient)),
}];

/// Each gateway that Envoy knows, as far as there are not too many, takes connections.
async fn reachable(patient: &Patient) -> Finding {
    let envoy = patient.snapshot.as_ref().and_then(|snapshot| snapshot.envoy.as_ref());
    let Some(envoy) = envoy else {
        return Finding::unknown("which there are says Envoy, and no agent runs here to ask it");
    };
    let gateways = match Admin::new(envoy.admin).read(CLUSTERS, |text| gateways(text)).await {
        Ok(gateways) => gateways,
        Err(error) => return Finding::unknown(format!("Envoy does not say: {}", Chain(&error))),
    };
    let mut calls = JoinSet::new();
    for gateway in gateways.iter().copied().take(MOST) {
        calls.spawn(async move { (gateway, connects(gateway).await) });
    }
    let mut calls = calls.join_all().await;
    calls.sort_unstable_by_key(|(gateway, _)| *gateway);
    let silent: Vec<String> = calls
        .iter()
        .filter_map(|(gateway, why)| Some(format!("{gateway}: {}", why.as_ref().err()?)))
        .collect();
    let Some((first, _)) = calls.iter().find(|(_, why)| why.is_err()) else {
        return match calls.len() {
            0 => Finding::ok("nothing goes through a gateway to another network"),
            count => Finding::ok(format!("{count} of {} were called, and answer", gateways.len())),
        };
    };
    let (host, port) = (first.ip(), first.port());
    let finding = if silent.len() == calls.len() { Finding::failed } else { Finding::warning };
    finding(
        format!("no connection to {}", silent.join("; ")),
        format!(
            "open TCP port {port} from this machine to {host}: `nc -vz {host} {port}`; \
             `kubectl -n istio-system get service istio-eastwestgateway` shows the address"
        ),
    )
    .because("services of another network are reached through it")
}

/// The gateways in what Envoy says of its clusters, a line for each fact.
fn gateways(text: &mut dyn Read) -> BTreeSet<SocketAddr> {
    let mut found = BTreeSet::new();
    for line in BufReader::new(text).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        // `outbound|80||web.demo.svc.cluster.local::192.0.2.7:15443::cx_active::0`
        let address = line.split_once("::").and_then(|(_, rest)| {
            // An IPv6 address has the same mark in it.
            let inside = if rest.starts_with('[') { rest.find(']')? } else { 0 };
            let end = inside + rest.get(inside..)?.find("::")?;
            rest.get(..end)?.parse::<SocketAddr>().ok()
        });
        found.extend(address.filter(|address| address.port() == GATEWAY));
        if found.len() > MOST_KNOWN {
            break;
        }
    }
    found
}

async fn connects(gateway: SocketAddr) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect(gateway)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

const CLUSTERS: &str = "/clusters";
/// Of gateways between networks.
const GATEWAY: u16 = 15443;
const PATIENCE: Duration = Duration::from_secs(3);
/// So many are called.
const MOST: usize = 8;
const MOST_KNOWN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_found_among_what_envoy_says_of_its_clusters() {
        let text = "outbound|80||a.demo.svc.cluster.local::observability_name::outbound|80||a\n\
                    outbound|80||a.demo.svc.cluster.local::192.0.2.7:15443::cx_active::0\n\
                    outbound|80||a.demo.svc.cluster.local::192.0.2.7:15443::weight::1\n\
                    outbound|80||a.demo.svc.cluster.local::10.0.0.9:8080::weight::1\n\
                    outbound|80||b.demo.svc.cluster.local::[2001:db8::7]:15443::weight::1\n\
                    xds-grpc::/run/hawser/xds.sock::cx_active::3\n";

        let found: Vec<String> =
            gateways(&mut text.as_bytes()).iter().map(ToString::to_string).collect();

        assert_eq!(found, ["192.0.2.7:15443", "[2001:db8::7]:15443"]);
    }
}
