//! What Kubernetes has: services, Istio's service entries, and the pods that tell who answers.

use std::{collections::BTreeMap, num::NonZeroU16};

use serde_json::Value;

use super::{Found, Pod, Wanted, protocol};
use crate::{file::words, model::Protocol};

/// A `Service`: its name in the cluster, and its ports that are not UDP.
pub(super) fn service(value: &Value, wanted: &Wanted, found: &mut Found) {
    let (name, namespace) = (text(value, "/metadata/name"), text(value, "/metadata/namespace"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let what = format!("{name}.{namespace}");
    if is_gateway(value) {
        gateways(value, found);
        return found.skip(&what, "it is a gateway");
    }
    if !taken(namespace, wanted) {
        return found.skip(&what, "of a namespace that is not asked for");
    }
    let why = match (text(value, "/spec/type"), text(value, "/spec/clusterIP")) {
        ("ExternalName", _) => "another name for what is outside",
        (_, "None") => "it has no address (clusterIP None), so no gateway leads to it",
        _ if (name, namespace) == ("kubernetes", "default") => "the API server is not in the mesh",
        _ => "",
    };
    if !why.is_empty() {
        return found.skip(&what, why);
    }
    let host = format!("{what}.svc.{}", wanted.cluster_domain);
    let ports = ports(value, "port", &what, found);
    let Some(service) = found.service(&host) else { return };
    service.namespace = Some(namespace.to_owned());
    service.selector = labels(value.pointer("/spec/selector"));
    service.ports.extend(ports);
}

/// A `ServiceEntry`: its hosts within the mesh.
pub(super) fn entry(value: &Value, wanted: &Wanted, found: &mut Found) {
    let (name, namespace) = (text(value, "/metadata/name"), text(value, "/metadata/namespace"));
    let what = format!("serviceentry {name}.{namespace}");
    if !taken(namespace, wanted) {
        return found.skip(&what, "of a namespace that is not asked for");
    }
    if text(value, "/spec/location") != "MESH_INTERNAL" {
        return found.skip(&what, "outside of the mesh, so no gateway leads to it");
    }
    let ports = ports(value, "number", &what, found);
    let whole = |id: &&str| words::identity(id, "").is_some();
    let ids: Vec<&str> =
        list(value, "/spec/subjectAltNames").filter_map(Value::as_str).filter(whole).collect();
    for host in list(value, "/spec/hosts").filter_map(Value::as_str) {
        let Some(service) = found.service(host) else { continue };
        service.namespace = Some(namespace.to_owned());
        service.selector = labels(value.pointer("/spec/workloadSelector/labels"));
        service.identities.extend(ids.iter().map(ToString::to_string));
        service.ports.extend(ports.clone());
    }
}

/// A `Pod`: what it runs as.
pub(super) fn pod(value: &Value, found: &mut Found) {
    let (namespace, account) =
        (text(value, "/metadata/namespace"), text(value, "/spec/serviceAccountName"));
    let account = if account.is_empty() { "default" } else { account };
    // What could not stand in an id is nobody's.
    if words::identity(&format!("ns/{namespace}/sa/{account}"), "cluster.local").is_some() {
        found.pods.push(Pod {
            namespace: namespace.to_owned(),
            account: account.to_owned(),
            labels: labels(value.pointer("/metadata/labels")),
        });
    }
}

/// The ports, and what is spoken there. What nobody says is taken for TCP, which is true of all.
fn ports(
    value: &Value,
    key: &str,
    what: &str,
    found: &mut Found,
) -> BTreeMap<NonZeroU16, Protocol> {
    let mut ports = BTreeMap::new();
    for port in list(value, "/spec/ports") {
        let number = port.get(key).and_then(Value::as_u64).unwrap_or(0);
        let Some(number) = u16::try_from(number).ok().and_then(NonZeroU16::new) else { continue };
        let said = |key: &str| port.get(key).and_then(Value::as_str).unwrap_or_default();
        if said("protocol") == "UDP" || said("protocol") == "SCTP" {
            found.skip(what, &format!("port {number} is {}", said("protocol")));
            continue;
        }
        let spoken = [said("appProtocol"), said("name"), said("protocol")];
        let spoken = spoken.into_iter().find_map(protocol).unwrap_or(Protocol::Tcp);
        ports.insert(number, spoken);
    }
    ports
}

/// Whether a service is a gateway between networks.
fn is_gateway(value: &Value) -> bool {
    let east_west = |port: &Value| port.get("port").and_then(Value::as_u64) == Some(15443);
    list(value, "/spec/ports").any(east_west)
}

/// Where a gateway is reached from outside.
fn gateways(value: &Value, found: &mut Found) {
    for ingress in list(value, "/status/loadBalancer/ingress") {
        let said = |key: &str| ingress.get(key).and_then(Value::as_str);
        if let Some(address) = said("hostname").or(said("ip"))
            && words::gateway(address).is_some()
        {
            found.gateways.insert(address.to_owned());
        }
    }
}

fn taken(namespace: &str, wanted: &Wanted) -> bool {
    match wanted.namespaces.as_slice() {
        [] => !SYSTEM.contains(&namespace),
        some => some.iter().any(|one| one == namespace),
    }
}

fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let labels = value.and_then(Value::as_object).into_iter().flatten();
    let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.filter_map(label).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Where nothing is that a machine calls, unless it is asked for.
const SYSTEM: [&str; 4] = ["istio-system", "kube-node-lease", "kube-public", "kube-system"];
