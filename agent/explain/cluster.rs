//! What there is to say of a cluster, and how it talks to one of its endpoints.

use serde_json::{Value, json};

use super::{
    dump::{Cluster, Metadata, Socket, Tls},
    endpoint::SOCKET,
};

/// How an endpoint is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// In plain text.
    Plain,
    /// Over TLS.
    Sealed(Seal),
}

/// What is shown and expected in TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seal {
    /// The name that is said.
    pub sni: String,
    /// What is offered to speak.
    pub alpn: Vec<String>,
    /// Who has to answer, one of these; anybody whom the roots vouch for, if there are none.
    pub names: Vec<String>,
    /// Whether the certificate is looked at.
    pub verified: bool,
    /// Whether this machine shows its own.
    pub mutual: bool,
}

/// Where a cluster leads that is not one of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Nowhere: what is not known is not let out.
    BlackHole,
    /// Where the program wanted to go, past the mesh.
    Passthrough,
}

/// Whether it is one of those that istiod has for what it does not know.
pub fn beyond(name: &str) -> Option<Beyond> {
    match name {
        "BlackHoleCluster" => Some(Beyond::BlackHole),
        "PassthroughCluster" | "InboundPassthroughCluster" => Some(Beyond::Passthrough),
        _ => None,
    }
}

/// The kind, as Envoy says it.
pub fn kind(cluster: &Cluster) -> &str {
    let custom = cluster.cluster_type.as_ref().map(|own| own.name.as_str());
    custom.or(cluster.kind.as_deref()).unwrap_or("STATIC")
}

/// How requests are shared out.
pub fn sharing(cluster: &Cluster) -> &str {
    let policies = cluster.load_balancing_policy.as_ref().and_then(|own| own.policies.first());
    let newer = policies.and_then(|policy| policy.typed_extension_config.name.rsplit('.').next());
    newer.or(cluster.lb_policy.as_deref()).unwrap_or("ROUND_ROBIN")
}

/// Whether it is one of a service of the file: everybody in it is a gateway.
pub fn of_file(name: &str) -> bool {
    name.starts_with(hawser_xds::OURS)
}

/// The port, subset and host in the name that istiod gives to clusters, or the agent to those of the
/// file of services.
pub fn parts(name: &str) -> Option<(&str, &str, &str)> {
    if let Some(rest) = name.strip_prefix(hawser_xds::OURS) {
        let mut parts = rest.splitn(3, '/');
        return Some((parts.next()?, parts.next()?, parts.next()?));
    }
    let mut parts = name.split('|');
    let (_direction, port, subset, host) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((port, subset, host))
}

/// How the endpoint is spoken to of which this is said.
pub fn way(cluster: &Cluster, metadata: &Metadata) -> Way {
    let said = metadata.filter_metadata.get(SOCKET);
    let fits = |wanted: &std::collections::BTreeMap<String, Value>| {
        wanted.iter().all(|(word, value)| said.and_then(|said| said.get(word)) == Some(value))
    };
    let found = cluster.transport_socket_matches.iter().find(|own| fits(&own.r#match));
    let socket = found.map(|own| &own.transport_socket).or(cluster.transport_socket.as_ref());
    socket.map_or(Way::Plain, of)
}

/// A socket by itself: what is around another one is looked through.
fn of(socket: &Socket) -> Way {
    let tls = &socket.typed_config;
    if tls.kind.ends_with(".UpstreamTlsContext") {
        return Way::Sealed(seal(tls));
    }
    match &tls.transport_socket {
        Some(within) if !tls.kind.ends_with(".UpstreamTlsContext") => of(within),
        _ => Way::Plain,
    }
}

fn seal(tls: &Tls) -> Seal {
    let context = &tls.common_tls_context;
    let combined = context.combined_validation_context.as_ref();
    let validation = combined.map(|own| &own.default_validation_context);
    let validation = validation.or(context.validation_context.as_ref());
    let typed = validation.into_iter().flat_map(|own| &own.match_typed_subject_alt_names);
    let typed = typed.map(|one| &one.matcher);
    let plain = validation.into_iter().flat_map(|own| &own.match_subject_alt_names);
    let name = |own: &super::dump::StringMatch| {
        let whole = own.exact.clone();
        let begins = own.prefix.as_ref().map(|text| format!("{text}*"));
        let ends = own.suffix.as_ref().map(|text| format!("*{text}"));
        let holds = own.contains.as_ref().map(|text| format!("*{text}*"));
        let regex = own.safe_regex.as_ref().map(|own| own.regex.clone());
        whole.or(begins).or(ends).or(holds).or(regex)
    };
    let secret = combined.is_some_and(|own| own.validation_context_sds_secret_config.is_some());
    Seal {
        sni: if tls.auto_host_sni {
            "the name of the endpoint".to_owned()
        } else {
            tls.sni.clone()
        },
        alpn: context.alpn_protocols.clone(),
        names: typed.chain(plain).filter_map(name).collect(),
        verified: secret
            || validation.is_some()
            || context.validation_context_sds_secret_config.is_some(),
        mutual: !context.tls_certificate_sds_secret_configs.is_empty()
            || !context.tls_certificates.is_empty(),
    }
}

impl Way {
    /// For programs.
    pub fn json(&self) -> Value {
        match self {
            Self::Plain => json!({ "tls": false }),
            Self::Sealed(seal) => json!({
                "tls": true,
                "mutual": seal.mutual,
                "verified": seal.verified,
                "sni": seal.sni,
                "alpn": seal.alpn,
                "names": seal.names,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
