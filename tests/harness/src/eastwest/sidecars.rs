//! The sidecars: one Envoy for all workloads, a listener with a certificate of its own for each.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::programs::Programs;
use super::resources::{Filed, Given, cluster, json_log, listener, named, tcp_proxy};
use super::{ALPN, Member, Shows, Speaks, made, put_json};
use crate::ca::{Certified, Shape, TestCa, spiffe_id};
use crate::free;
use crate::wait::wait_for;

const TTL: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Sidecars {
    filed: Filed,
    files: Files,
    programs: BTreeMap<&'static str, SocketAddr>,
    /// Where each workload's sidecar listens: it stays there.
    places: BTreeMap<String, SocketAddr>,
}

/// What Envoy reads and writes besides its configuration.
#[derive(Debug, Clone)]
struct Files {
    secrets: PathBuf,
    log: PathBuf,
}

impl Sidecars {
    pub(super) async fn start(
        ca: &TestCa,
        dir: &Path,
        programs: &Programs,
        members: &[Member],
    ) -> Result<Self> {
        let secrets = made(&dir.join("secrets"))?;
        let files = Files { secrets, log: dir.join("seen.log") };
        files.certify(ca, members)?;
        let programs = programs.addresses();
        let mut places = BTreeMap::new();
        let given = given(&files, &programs, &mut places, members)?;
        Ok(Self { filed: Filed::start(dir, given).await?, files, programs, places })
    }

    /// SNIs, each with where it leads.
    pub(super) fn places(&self, members: &[Member]) -> Result<Vec<(String, SocketAddr)>> {
        let place = |member: &Member| {
            let at = self.places.get(&member.key()).context("a workload without a sidecar")?;
            Ok((member.sni(), *at))
        };
        members.iter().map(place).collect()
    }

    pub(super) async fn become_these(&mut self, ca: &TestCa, members: &[Member]) -> Result<()> {
        self.renew(ca, members).await?;
        let given = given(&self.files, &self.programs, &mut self.places, members)?;
        self.filed.give(given).await
    }

    /// Waits until Envoy shows the new certificates.
    pub(super) async fn renew(&self, ca: &TestCa, members: &[Member]) -> Result<()> {
        let serials = self.files.certify(ca, members)?;
        let Some(envoy) = self.filed.envoy() else { return Ok(()) };
        let known = members.iter().filter(|one| self.places.contains_key(&one.key()));
        let known: Vec<_> = known.collect();
        wait_for("the sidecars' new certificates", async || {
            let shown = envoy.get("/certs").await?.body;
            for member in &known {
                let serial = serials.get(&member.key()).context("no certificate")?;
                ensure!(shown.contains(serial.as_str()), "{} has not {serial}", member.name);
            }
            Ok(())
        })
        .await
    }

    pub(super) fn log(&self) -> PathBuf {
        self.files.log.clone()
    }
}

impl Files {
    /// Writes the roots and a new certificate for each; answers their serial numbers.
    fn certify(&self, ca: &TestCa, members: &[Member]) -> Result<BTreeMap<String, String>> {
        let trusted = json!({"trusted_ca": {"inline_string": ca.root_pem()}});
        self.secret(ROOTS, json!({"validation_context": trusted}))?;
        let mut serials = BTreeMap::new();
        for member in members {
            let pair = shown(ca, member)?;
            serials.insert(member.key(), pair.serial()?);
            let certificate = json!({
                "certificate_chain": {"inline_string": pair.chain},
                "private_key": {"inline_string": pair.key},
            });
            self.secret(&member.key(), json!({"tls_certificate": certificate}))?;
        }
        Ok(serials)
    }

    fn secret(&self, name: &str, mut secret: Value) -> Result<()> {
        if let Some(fields) = secret.as_object_mut() {
            let kind = "envoy.extensions.transport_sockets.tls.v3.Secret";
            fields.insert("@type".to_owned(), json!(format!("type.googleapis.com/{kind}")));
            fields.insert("name".to_owned(), json!(name));
        }
        put_json(&self.of(name), &json!({"resources": [secret]}))
    }

    fn of(&self, name: &str) -> PathBuf {
        self.secrets.join(format!("{name}.json"))
    }

    fn sds(&self, name: &str) -> Value {
        json!({"name": name, "sds_config": {"path_config_source": {"path": self.of(name)}}})
    }
}

fn shown(ca: &TestCa, member: &Member) -> Result<Certified> {
    match &member.shows {
        Shows::Its => ca.workload(&member.identity(), TTL),
        Shows::Of(account) => ca.workload(&spiffe_id(&member.namespace, account), TTL),
        Shows::Strangers => TestCa::new(Shape::SelfSigned)?.workload(&member.identity(), TTL),
        Shows::Ended => ca.ended(&member.identity(), Duration::from_secs(3600)),
    }
}

fn given(
    files: &Files,
    programs: &BTreeMap<&'static str, SocketAddr>,
    places: &mut BTreeMap<String, SocketAddr>,
    members: &[Member],
) -> Result<Given> {
    let clusters = programs.iter().map(|(name, addr)| match *name {
        programs if programs == GRPC => with_http2(cluster(programs, *addr)),
        programs => cluster(programs, *addr),
    });
    let mut listeners = Vec::new();
    for member in members {
        let key = member.key();
        if !places.contains_key(&key) {
            let localhost = Ipv4Addr::LOCALHOST;
            places.insert(key.clone(), (localhost, free::port(localhost.into())?).into());
        }
        let at = places.get(&key).context("a workload without a place")?;
        let log = json_log(&files.log, &fields("connection", member));
        listeners.push(listener(&key, *at, &chains(files, member), &log));
    }
    Ok(Given { clusters: clusters.collect(), listeners })
}

fn chains(files: &Files, member: &Member) -> Vec<Value> {
    let chain = |offered: &[&str], filters: Vec<Value>| {
        json!({
            "filter_chain_match": {"transport_protocol": "tls", "application_protocols": offered},
            "transport_socket": tls(files, member),
            "filters": filters,
        })
    };
    if member.speaks != Speaks::Tcp {
        return vec![chain(&ALPN, vec![http(files, member)])];
    }
    let (exchanges, plain): (Vec<_>, Vec<_>) =
        ALPN.into_iter().partition(|offered| *offered == EXCHANGE);
    let to = |program: &str| [policy_of_connections(member), vec![tcp_proxy(program)]].concat();
    // Who offers to exchange metadata is taken at its word.
    vec![chain(&exchanges, to(METADATA)), chain(&plain, to(TCP))]
}

fn tls(files: &Files, member: &Member) -> Value {
    let negotiated: &[&str] = match member.speaks {
        Speaks::Tcp => &[EXCHANGE, "h2", "http/1.1"],
        Speaks::Http | Speaks::Grpc => &["h2", "http/1.1"],
    };
    named(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": negotiated,
                "tls_certificate_sds_secret_configs": [files.sds(&member.key())],
                "validation_context_sds_secret_config": files.sds(ROOTS),
            },
        }),
    )
}

fn http(files: &Files, member: &Member) -> Value {
    let header = |name: &str, value: &str| {
        json!({"header": {"key": name, "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"})
    };
    let program = if member.speaks == Speaks::Grpc { GRPC } else { HTTP };
    let router = named(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        json!({}),
    );
    let filters = [policy_of_requests(member), vec![router]].concat();
    let options = if member.brief { json!({"max_requests_per_connection": 1}) } else { json!({}) };
    named(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": member.key(),
            "common_http_protocol_options": options,
            "forward_client_cert_details": "APPEND_FORWARD",
            "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
            "route_config": {
                "request_headers_to_add": [
                    header(super::programs::SERIAL, "%DOWNSTREAM_PEER_SERIAL%"),
                    header(super::programs::WORKLOAD, "%DOWNSTREAM_LOCAL_URI_SAN%"),
                ],
                "virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{
                        "match": {"prefix": "/"},
                        "route": {"cluster": program, "timeout": "0s"},
                    }],
                }],
            },
            "http_filters": filters,
            "access_log": [json_log(&files.log, &fields("request", member))],
        }),
    )
}

fn policy_of_requests(member: &Member) -> Vec<Value> {
    let rbac = |rules| {
        named(
            "envoy.filters.http.rbac",
            "envoy.extensions.filters.http.rbac.v3.RBAC",
            json!({"rules": rules}),
        )
    };
    rules(member).map(rbac).into_iter().collect()
}

fn policy_of_connections(member: &Member) -> Vec<Value> {
    let rbac = |rules| {
        named(
            "envoy.filters.network.rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC",
            json!({"rules": rules, "stat_prefix": member.key()}),
        )
    };
    rules(member).map(rbac).into_iter().collect()
}

fn rules(member: &Member) -> Option<Value> {
    let callers = member.callers.as_ref()?;
    let principals = callers
        .iter()
        .map(|caller| json!({"authenticated": {"principal_name": {"exact": caller}}}));
    let principals: Vec<_> = principals.collect();
    let named = json!({"permissions": [{"any": true}], "principals": principals});
    // Where nobody is named, nobody may.
    let policies = if callers.is_empty() { json!({}) } else { json!({"named": named}) };
    Some(json!({"action": "ALLOW", "policies": policies}))
}

/// What is logged of a request or a connection.
fn fields(kind: &str, member: &Member) -> Value {
    let why = match kind {
        "request" => "%RESPONSE_CODE_DETAILS%",
        _ => "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %CONNECTION_TERMINATION_DETAILS%",
    };
    json!({
        "kind": kind,
        "member": member.name,
        "caller": "%DOWNSTREAM_PEER_URI_SAN%",
        "sni": "%REQUESTED_SERVER_NAME%",
        "code": "%RESPONSE_CODE%",
        "why": why,
    })
}

fn with_http2(mut cluster: Value) -> Value {
    if let Some(fields) = cluster.as_object_mut() {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        fields.insert(
            "typed_extension_protocol_options".to_owned(),
            json!({kind: {
                "@type": format!("type.googleapis.com/{kind}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }}),
        );
    }
    cluster
}

const ROOTS: &str = "ROOTCA";
const EXCHANGE: &str = "istio-peer-exchange";
/// The programs, as clusters.
pub(super) const HTTP: &str = "http";
pub(super) const GRPC: &str = "grpc";
pub(super) const TCP: &str = "tcp";
pub(super) const METADATA: &str = "metadata";
