//! One stream of identities, as the SPIFFE Workload API has them.

use std::sync::Arc;

use hawser_proto::spiffe::spiffe_workload_api_server::SpiffeWorkloadApi;
use hawser_proto::spiffe::{X509svid, X509svidRequest, X509svidResponse};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Given, Manner, Shared};
use crate::ca::Certified;

/// The service.
pub(super) struct Identities(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl SpiffeWorkloadApi for Identities {
    type FetchX509SVIDStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<X509svidResponse, Status>> + Send>,
    >;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|header| header != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        if *self.0.manner.borrow() == Manner::Unregistered {
            return Err(Status::permission_denied("no identity issued"));
        }
        self.0.seen.send_modify(|seen| seen.fetches += 1);
        let (out, mut pushes) = mpsc::channel(1);
        self.0.tasks.spawn(push(Arc::clone(&self.0), out));
        // As grpc-go: headers go with the first message.
        let Some(first) = pushes.recv().await.transpose()? else {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        };
        let rest = ReceiverStream::new(pushes);
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(first)).chain(rest))))
    }
}

/// All there is, whenever something changes.
async fn push(shared: Arc<Shared>, out: mpsc::Sender<Result<X509svidResponse, Status>>) {
    let mut given = shared.given.subscribe();
    loop {
        let now = given.borrow_and_update().clone();
        if let Some(response) = respond(&now).transpose()
            && out.send(response).await.is_err()
        {
            return;
        }
        // Cancel safe: both only wait.
        tokio::select! {
            changed = given.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = out.closed() => return,
        }
    }
}

fn respond(given: &Given) -> Result<Option<X509svidResponse>, Status> {
    let (Some((_, pair)), Some((_, roots))) = (&given.pair, &given.roots) else {
        return Ok(None);
    };
    let bundle = ders(roots)?;
    let svids = std::iter::once(pair).chain(&given.others).map(|pair| svid(pair, bundle.clone()));
    let federated = given.federated.iter().map(|(id, roots)| Ok((id.clone(), ders(roots)?)));
    Ok(Some(X509svidResponse {
        svids: svids.collect::<Result<_, Status>>()?,
        crl: Vec::new(),
        federated_bundles: federated.collect::<Result<_, Status>>()?,
    }))
}

fn svid(pair: &Certified, bundle: Vec<u8>) -> Result<X509svid, Status> {
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(unusable)?;
    let chain = ders(&pair.chain)?;
    Ok(X509svid {
        spiffe_id: named(&chain)?,
        x509_svid_key: key.secret_der().to_vec(),
        x509_svid: chain,
        bundle,
        hint: String::new(),
    })
}

fn named(chain: &[u8]) -> Result<String, Status> {
    let (_, leaf) = X509Certificate::from_der(chain).map_err(unusable)?;
    let names = leaf.subject_alternative_name().map_err(unusable)?;
    let uri =
        names.into_iter().flat_map(|names| &names.value.general_names).find_map(
            |name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            },
        );
    Ok(uri.unwrap_or_default())
}

fn ders(pem: &str) -> Result<Vec<u8>, Status> {
    let mut all = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        all.extend_from_slice(&der.map_err(unusable)?);
    }
    Ok(all)
}

fn unusable(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}
