//! The CA service.

use std::collections::BTreeMap;
use std::sync::Arc;

use hawser_proto::envoy::google::protobuf::{Struct, value::Kind};
use hawser_proto::istio::ca::istio_certificate_service_server::IstioCertificateService;
use hawser_proto::istio::ca::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

use super::caller::{Caller, Judge, Peer, bearer, headers};
use super::faults::{Faults, Wrong};
use super::journal::Csr;
use super::{Shared, request};
use crate::ca::{Flaw, Refusal, asked};
use crate::token::subject;

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
        let faults = self.0.faults();
        let mut csr = self.note(&peer, request.metadata(), &faults);
        let message = request.into_inner();
        let answer = match faults.refuse_ca.clone() {
            Some(refusal) => Err(refusal.status()),
            None => self.issue(&message, &csr.identities, &faults),
        };
        csr.request = request::Request::read(&message.csr);
        csr.validity = message.validity_duration;
        csr.metadata = message.metadata.map(texts);
        csr.code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        csr.wrong = faults.ca.filter(|_| answer.is_ok());
        let wrong = csr.wrong.clone();
        self.0.seen.send_modify(|seen| seen.csrs.push(csr));
        self.0.pause().await;
        match wrong {
            Some(Wrong::Silence) => std::future::pending().await,
            Some(Wrong::Cut) => {
                peer.cut.cancel();
                std::future::pending().await
            }
            _ => answer.map(|cert_chain| Response::new(IstioCertificateResponse { cert_chain })),
        }
    }
}

impl Signer {
    /// What is known before the message is read.
    fn note(&self, peer: &Peer, metadata: &MetadataMap, faults: &Faults) -> Csr {
        let now = self.0.ca.time().now();
        let heeds_certificates = !faults.ignores_certificates;
        let judge = Judge { tokens: &self.0.tokens, now, heeds_certificates };
        let (shown, caller) = judge.authenticate(peer, metadata);
        let cluster_id = metadata.get("clusterid");
        Csr {
            connection: peer.connection,
            at: now,
            shown,
            certificate: peer.certificate.clone(),
            subject: bearer(metadata).and_then(subject),
            identities: caller.as_ref().map_or(&[][..], Caller::identities).to_vec(),
            request: None,
            validity: 0,
            metadata: None,
            cluster_id: cluster_id.and_then(|id| id.to_str().ok()).map(str::to_owned),
            headers: headers(metadata),
            code: Code::Ok,
            wrong: None,
        }
    }

    fn issue(
        &self,
        request: &IstioCertificateRequest,
        identities: &[String],
        faults: &Faults,
    ) -> Result<Vec<String>, Status> {
        if identities.is_empty() {
            return Err(Status::unauthenticated("request authenticate failure"));
        }
        let ttl = asked(request.validity_duration).map_err(status)?;
        let ttl = faults.ttl_cap.map_or(ttl, |cap| ttl.min(cap));
        let other;
        let (identities, flaw) = match &faults.ca {
            Some(Wrong::Identity(id)) => {
                other = [id.clone()];
                (&other[..], None)
            }
            Some(Wrong::Key) => (identities, Some(Flaw::Key)),
            Some(Wrong::Root) => (identities, Some(Flaw::Root)),
            Some(Wrong::NotYetValid(by)) => (identities, Some(Flaw::Later(*by))),
            Some(Wrong::Expired(ago)) => (identities, Some(Flaw::Ended(*ago))),
            _ => (identities, None),
        };
        let signed = self.0.ca.sign_flawed(&request.csr, identities, ttl, flaw);
        let mut chain = signed.map_err(status)?;
        match faults.ca {
            Some(Wrong::Empty) => chain.clear(),
            Some(Wrong::Short) => chain.truncate(1),
            Some(Wrong::NotPem) => {
                chain.iter_mut().for_each(|one| "this is no certificate\n".clone_into(one));
            }
            _ => {}
        }
        Ok(chain)
    }
}

fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Csr(why) | Refusal::Ttl(why) => {
            Status::invalid_argument(format!("CSR signing error ({why})"))
        }
        Refusal::Sign(why) => Status::internal(format!("CSR signing error ({why})")),
    }
}

fn texts(metadata: Struct) -> BTreeMap<String, String> {
    let texts = metadata.fields.into_iter().filter_map(|(key, value)| match value.kind? {
        Kind::StringValue(text) => Some((key, text)),
        _ => None,
    });
    texts.collect()
}
