//! The names of services, as istiod would tell of them.

use bytes::Bytes;
use hawser_proto::{
    Names,
    istio::nds::{NameInfo, NameTable},
};

use crate::{addresses::Addresses, model::Services};

/// The name table.
pub(super) fn of(services: &Services, addresses: &Addresses) -> Bytes {
    let mut table = NameTable::default();
    for service in &services.services {
        let info = table.table.entry(service.host.clone()).or_insert_with(|| {
            let address = addresses.of(services, &service.host).to_string();
            NameInfo { ips: vec![address], ..named(&service.host) }
        });
        for alias in &service.aliases {
            if !info.alt_hosts.contains(alias) {
                info.alt_hosts.push(alias.clone());
            }
        }
    }
    Names::from(&table).message().clone()
}

/// What sort of a name it is: with a service of a cluster, short forms of it are known too.
fn named(host: &str) -> NameInfo {
    match service(host) {
        Some((name, namespace)) => NameInfo {
            registry: "Kubernetes".to_owned(),
            shortname: name.to_owned(),
            namespace: namespace.to_owned(),
            ..NameInfo::default()
        },
        None => NameInfo { registry: "External".to_owned(), ..NameInfo::default() },
    }
}

/// The name of a service and its namespace: `NAME.NAMESPACE.svc.…`.
pub(super) fn service(host: &str) -> Option<(&str, &str)> {
    let (name, rest) = host.split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    let whole = rest.starts_with("svc.") && name != "*" && !name.is_empty();
    whole.then_some((name, namespace))
}
