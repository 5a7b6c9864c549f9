//! Clusters of an Envoy that istiod has told of them: they know who answers.

use serde_json::Value;

use super::{Found, Service};
use crate::{file::at, model::Protocol};

/// A cluster such as `outbound|9080||reviews.prod.svc.cluster.local`.
pub(super) fn cluster(name: &str, value: &Value, found: &mut Found) {
    let Some(service) = service(name, found) else { return };
    let port = service.1;
    let mut ids = Vec::new();
    sans(value, &mut ids);
    let protocol = protocol(value);
    service.0.ports.insert(port, protocol);
    service.0.identities.extend(ids);
}

/// The table that `istioctl proxy-config cluster` prints: no more than names and ports.
pub(super) fn table(text: &str, found: &mut Found) {
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [host, port, subset, "outbound", ..] = fields.as_slice() else { continue };
        let subset = if *subset == "-" { "" } else { subset };
        let name = format!("outbound|{port}|{subset}|{host}");
        if let Some((service, port)) = service(&name, found) {
            let spoken = match port.get() {
                80 | 8000 | 8080 | 9080 => Protocol::Http,
                _ => Protocol::Tcp,
            };
            service.ports.insert(port, spoken);
        }
    }
}

/// The service that a cluster's name is about, and its port.
fn service<'f>(
    name: &str,
    found: &'f mut Found,
) -> Option<(&'f mut Service, std::num::NonZeroU16)> {
    let mut parts = name.split('|').skip(1);
    let (port, subset, host) = (parts.next()?, parts.next()?, parts.next()?);
    let port = at::port(port)?;
    if !subset.is_empty() {
        let why = format!("subset {subset} of port {port} needs a local_port of its own");
        found.skip(host, &why);
        return None;
    }
    found.service(host).map(|service| (service, port))
}

/// The SPIFFE ids that the other side may show, wherever in the TLS settings they stand.
fn sans(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| sans(item, ids)),
        Value::Object(fields) => {
            if let Some(id) = fields.get("exact").and_then(Value::as_str)
                && id.starts_with("spiffe://")
                && crate::file::words::identity(id, "").is_some()
            {
                ids.push(id.to_owned());
            }
            fields.values().for_each(|inner| sans(inner, ids));
        }
        _ => {}
    }
}

fn protocol(cluster: &Value) -> Protocol {
    let options = cluster.get("typedExtensionProtocolOptions").and_then(Value::as_object);
    let http = options
        .and_then(|options| options.get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions"));
    let Some(http) = http else { return Protocol::Tcp };
    match http.pointer("/explicitHttpConfig/http2ProtocolOptions") {
        Some(_) => Protocol::Http2,
        None => Protocol::Http,
    }
}
