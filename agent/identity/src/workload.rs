//! The SPIFFE Workload API: whole identities, each time all of them.
//!
//! One of them is this machine's: the one that is configured, else the first, as the standard has
//! it. To its own roots come those of the mesh, where that is another trust domain and the two are
//! federated.

use std::path::{Path, PathBuf};

use hawser_pki::{Bundle, Chain, Error as Unfit, Identity, PrivateKey, SpiffeId};
use hawser_proto::spiffe::{
    X509svid, X509svidRequest, X509svidResponse,
    spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Streaming, metadata::MetadataValue, transport::Channel};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    Error,
    error::BoxError,
    subscription::{LARGEST_RESPONSE, PATIENCE, broken_off, silent},
    trust::joined,
};

/// Which identity is wanted, where there are several.
#[derive(Debug, Clone)]
pub struct Wish {
    /// This machine's name, if it matters to anybody.
    pub expected: Option<SpiffeId>,
    /// The trust domain of the mesh.
    pub trust_domain: String,
}

/// A stream on which identities come.
#[derive(Debug)]
pub(crate) struct Workload {
    socket: PathBuf,
    responses: Streaming<X509svidResponse>,
    wish: Wish,
    /// Until when the first is to be there.
    deadline: Option<Instant>,
}

impl Workload {
    /// Asks for all identities of this process.
    pub(crate) async fn open(socket: &Path, channel: Channel, wish: Wish) -> Result<Self, Error> {
        let deadline = Some(Instant::now() + PATIENCE);
        let mut request = Request::new(X509svidRequest {});
        request.metadata_mut().insert(HEADER, MetadataValue::from_static("true"));
        let mut client =
            SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
        let responses = client.fetch_x509svid(request).await;
        let responses = responses.map_err(|status| broken_off(socket, status))?.into_inner();
        Ok(Self { socket: socket.to_owned(), responses, wish, deadline })
    }

    /// The next identity. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Identity, Error> {
        let response = match self.deadline {
            // Once it is there, no news is good news.
            None => self.responses.message().await,
            Some(deadline) => timeout_at(deadline, self.responses.message())
                .await
                .map_err(|_elapsed| silent(&self.socket, Some("an identity")))?,
        };
        match response {
            Ok(Some(response)) => {
                self.deadline = None;
                self.wish.grant(response).map_err(|Ungranted { name, source }| {
                    Error::UnusableSecret { socket: self.socket.clone(), name, source }
                })
            }
            Ok(None) => Err(Error::Ended { socket: self.socket.clone() }),
            Err(status) => Err(broken_off(&self.socket, status)),
        }
    }
}

/// An answer that holds nothing to use.
#[derive(Debug)]
pub struct Ungranted {
    /// What cannot be used.
    pub name: String,
    /// Why.
    pub source: BoxError,
}

impl Wish {
    /// The identity that is wanted, out of all that were given. Pure.
    pub fn grant(&self, response: X509svidResponse) -> Result<Identity, Ungranted> {
        let X509svidResponse { svids, federated_bundles, .. } = response;
        let federated = federated_bundles
            .into_iter()
            .find(|(id, _)| id.strip_prefix(SCHEME).unwrap_or(id) == self.trust_domain);
        let Some(svid) = self.chosen(svids) else {
            let (name, source) = ("an answer".to_owned(), "there is no identity in it".into());
            return Err(Ungranted { name, source });
        };
        let name: String = svid.spiffe_id.chars().take(LONGEST_NAME).collect();
        self.identity(svid, federated.map(|(_, bundle)| bundle))
            .map_err(|source| Ungranted { name, source })
    }

    fn chosen(&self, svids: Vec<X509svid>) -> Option<X509svid> {
        let wanted = self.expected.as_ref().map(ToString::to_string);
        let found = svids.iter().position(|svid| Some(&svid.spiffe_id) == wanted.as_ref());
        let mut chosen = None;
        for (position, mut svid) in svids.into_iter().enumerate() {
            if position == found.unwrap_or_default() {
                chosen = Some(svid);
            } else {
                svid.x509_svid_key.zeroize();
            }
        }
        chosen
    }

    fn identity(&self, svid: X509svid, federated: Option<Vec<u8>>) -> Result<Identity, BoxError> {
        let X509svid { spiffe_id, x509_svid, x509_svid_key, bundle, .. } = svid;
        let key = Zeroizing::new(x509_svid_key);
        let (key, chain) = (PrivateKey::from_pkcs8(&key)?, Chain::from_der(&x509_svid)?);
        if chain.name() != spiffe_id {
            return Err(format!("its certificate is for {}", chain.name()).into());
        }
        let mut identity = Identity::brought(key, chain, Bundle::from_der(&bundle)?)?;
        identity.rooted()?;
        if let Some(federated) = federated {
            let mesh: Result<_, Unfit> = Bundle::from_der(&federated);
            identity.roots = joined(&identity.roots, Some(&mesh?));
        }
        Ok(identity)
    }
}

/// Without it nobody answers: a page in a browser cannot send it.
const HEADER: &str = "workload.spiffe.io";
const SCHEME: &str = "spiffe://";
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests;
