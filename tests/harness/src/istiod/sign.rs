//! The CA service.

use std::sync::Arc;

use hawser_proto::istio::ca::istio_certificate_service_server::IstioCertificateService;
use hawser_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Code, Request, Response, Status};

use super::Shared;
use super::caller::{Caller, Peer, authenticate};
use super::journal::Csr;
use crate::ca::Refusal;

/// `CreateCertificate`: whatever a request asks to be, it becomes who its sender is.
pub(super) struct Signer(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl IstioCertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let Some(peer) = request.extensions().get::<Arc<Peer>>().cloned() else {
            return Err(Status::internal("a request without a connection"));
        };
        let (shown, caller) = authenticate(&peer, request.metadata(), &self.0.tokens);
        let cluster_id = request.metadata().get("clusterid");
        let cluster_id = cluster_id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let request = request.into_inner();
        let faults = self.0.faults();
        let identities = caller.as_ref().map_or(&[][..], Caller::identities).to_vec();
        let answer = match faults.refuse_ca {
            Some(refusal) => Err(refusal.status()),
            None => self.issue(&request, &identities),
        };
        self.0.seen.send_modify(|seen| {
            seen.csrs.push(Csr {
                connection: peer.connection,
                shown,
                identities,
                validity: request.validity_duration,
                cluster_id,
                code: answer.as_ref().err().map_or(Code::Ok, Status::code),
            });
        });
        self.0.pause().await;
        answer.map(|cert_chain| Response::new(IstioCertificateResponse { cert_chain }))
    }
}

impl Signer {
    fn issue(
        &self,
        request: &IstioCertificateRequest,
        identities: &[String],
    ) -> Result<Vec<String>, Status> {
        if identities.is_empty() {
            return Err(Status::unauthenticated("request authenticate failure"));
        }
        let signed = self.0.ca.sign(&request.csr, identities, request.validity_duration);
        signed.map_err(|refusal| match refusal {
            Refusal::Csr(why) | Refusal::Ttl(why) => {
                Status::invalid_argument(format!("CSR signing error ({why})"))
            }
            Refusal::Sign(why) => Status::internal(format!("CSR signing error ({why})")),
        })
    }
}
