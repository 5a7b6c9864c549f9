//! Some services through each of their gateways, called once for all checks.

use hawser_identity::fetch;
use hawser_pki::Identity;
use hawser_rt::Chain;
use hawser_services::{
    Services,
    model::{Gateway, Service},
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

use super::{
    call::{Caller, Came},
    file,
};
use crate::doctor::{Finding, Patient, credentials::Kept};

/// What came of all calls.
#[derive(Debug)]
pub(in crate::doctor) struct Seen {
    pub(super) calls: Vec<Called>,
    /// This machine's pair, or why it could not be shown.
    pub(super) own: Result<Arc<Identity>, String>,
    /// How many services there are.
    pub(super) of: usize,
    /// How many of them were called.
    pub(super) tried: usize,
}

/// A call.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) gateway: Gateway,
    pub(super) service: Service,
    pub(super) came: Came,
}

impl Called {
    /// `reviews.prod.svc.cluster.local:9080 through gw1.example:15443`
    pub(super) fn route(&self) -> String {
        let Service { host, port, .. } = &self.service;
        format!("{host}:{port} through {}", self.place())
    }

    /// Where the gateway is.
    pub(super) fn place(&self) -> String {
        let Gateway { host, port, .. } = &self.gateway;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Calls once for all checks; or says why there is nothing to call.
pub(super) async fn survey(patient: &Patient) -> Result<&Seen, Finding> {
    let look = async {
        let services = file::read(patient)?;
        if services.services.is_empty() {
            return Err(Finding::ok("no service is called from here"));
        }
        seen(patient, &services).await
    };
    let seen = patient.services.get_or_init(|| look).await;
    seen.as_ref().map_err(Clone::clone)
}

async fn seen(patient: &Patient, services: &Services) -> Result<Seen, Finding> {
    let own = own(patient).await;
    let caller = Caller::new(own.as_ref().ok().map(AsRef::as_ref), patient.now);
    let caller = caller.map_err(|error| Finding::unknown(Chain(&error).to_string()))?;
    let some = few(&services.services);
    let tried = some.len();
    let mut calls = JoinSet::new();
    let both = some.into_iter().flat_map(|service| {
        let gateways = ways(services, service).into_iter().take(MOST_GATEWAYS);
        gateways.map(move |gateway| (gateway.clone(), service.clone()))
    });
    for (place, (gateway, service)) in both.enumerate() {
        let caller = caller.clone();
        calls.spawn(async move {
            let came = caller.call(&gateway, &service).await;
            (place, Called { gateway, service, came })
        });
    }
    let mut calls = calls.join_all().await;
    calls.sort_by_key(|(place, _)| *place);
    let calls = calls.into_iter().map(|(_, called)| called).collect();
    Ok(Seen { calls, own, of: services.services.len(), tried })
}

/// The pair that Envoy has; of an agent that does not run, the one that it has kept.
async fn own(patient: &Patient) -> Result<Arc<Identity>, String> {
    if patient.snapshot.is_some() {
        let socket = patient.paths.sds_socket();
        return match timeout(PATIENCE, fetch(&socket)).await {
            Ok(Ok(identity)) => Ok(Arc::new(identity)),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(_) => Err("the agent has no certificate to show yet".to_owned()),
        };
    }
    match Kept::of(patient) {
        Kept::Pair(pair) => Ok(pair),
        Kept::Unseen(error) => Err(patient.unseen("the certificate", &error)),
        _ => Err("no agent runs here to show the certificate".to_owned()),
    }
}

/// The gateways that lead to a service, the preferred first.
fn ways<'a>(services: &'a Services, service: &Service) -> Vec<&'a Gateway> {
    let all = services.gateways.iter();
    let leads =
        |own: &&Gateway| service.gateways.is_empty() || service.gateways.contains(&own.name);
    let mut ways: Vec<&Gateway> = all.filter(leads).collect();
    ways.sort_by_key(|own| own.priority);
    ways
}

/// So many of them, from the first to the last.
fn few(all: &[Service]) -> Vec<&Service> {
    let step = all.len().div_ceil(MOST).max(1);
    all.iter().step_by(step).collect()
}

/// So many services are called,
const MOST: usize = 12;
/// through so many gateways each.
const MOST_GATEWAYS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(1);
