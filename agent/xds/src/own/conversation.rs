//! The conversation on the agent's own stream, as values: responses in, news and replies out.
//!
//! What is true of every type on it:
//!
//! - News is told before the reply is sent, and the reply takes the response or refuses it.
//! - What cannot be read is refused with the last version that was taken, once per response.
//! - What was not asked for is not answered.

mod names;
#[cfg(test)]
mod tests;
mod trust;

use bytes::Bytes;
use hawser_pki::Bundle;
use hawser_proto::{
    Names,
    envoy::{
        envoy::{config::core::v3::Node, service::discovery::v3::DiscoveryRequest},
        google::rpc,
    },
    type_url,
};

use hawser_wire::{Flavour, Response, Tail};

/// What one stream has agreed on.
#[derive(Debug)]
pub(super) struct Conversation {
    names: Talk,
    /// None if it was not asked for.
    trust: Option<Talk>,
}

/// The part of it that is about one type.
#[derive(Debug)]
struct Talk {
    type_url: &'static str,
    /// The last version that was taken.
    version: String,
}

/// What a response brought.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    /// None if it was about nothing that was asked for.
    pub(super) news: Option<News>,
    /// To be sent once the news is published.
    pub(super) reply: Option<DiscoveryRequest>,
}

/// What there is to tell.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    Names {
        table: Names,
        version: String,
    },
    /// Roots of the mesh; none if istiod says that there are no more than the agent knows.
    Trust {
        bundle: Option<Bundle>,
        version: String,
    },
    Refused {
        topic: Topic,
        version: String,
        error: String,
    },
    /// A response with nothing in it: it changes nothing.
    Nothing,
}

/// What a response is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Names,
    Trust,
}

/// What a response is taken as.
enum Reading {
    News(News),
    /// Nothing in it, and that is taken.
    Empty,
    /// Nothing in it, and that is not spoken of.
    PassedOver,
    Unfit(String),
}

impl Heard {
    const NOTHING: Self = Self { news: None, reply: None };
}

impl Conversation {
    /// Begins anew, with the first requests of the stream.
    pub(super) fn begin(node: Node, with_trust: bool) -> (Self, Vec<DiscoveryRequest>) {
        let conversation = Self {
            names: Talk::new(type_url::NAME_TABLE),
            trust: with_trust.then(|| Talk::new(type_url::PROXY_CONFIG)),
        };
        // Names first: they are what the stream is for. Who asks is said once.
        let names = DiscoveryRequest { node: Some(node), ..conversation.names.request() };
        let mut requests = vec![names];
        requests.extend(conversation.trust.as_ref().map(Talk::request));
        (conversation, requests)
    }

    pub(super) fn hear(&mut self, message: &Bytes) -> Heard {
        let Ok(seen) = Response::scan(Flavour::Sotw, message) else { return Heard::NOTHING };
        let (nonce, version) = (seen.nonce.to_owned(), seen.version.to_owned());
        let Some((topic, talk)) = self.talk(seen.type_url) else { return Heard::NOTHING };
        let reading = match topic {
            Topic::Names => names::read(message, &version),
            Topic::Trust => trust::read(message, &version),
        };
        let (news, reply) = match reading {
            Reading::News(news) => (news, Some(talk.take(nonce, version))),
            Reading::Empty => (News::Nothing, Some(talk.take(nonce, version))),
            Reading::PassedOver => (News::Nothing, None),
            Reading::Unfit(error) => return talk.heard_unfit(topic, nonce, &version, error),
        };
        Heard { news: Some(news), reply }
    }

    /// A response of so many bytes was too large to be held.
    pub(super) fn hear_of(&mut self, length: usize, tail: Tail) -> Heard {
        let Tail { type_url, version, nonce, .. } = tail;
        let Some((topic, talk)) = self.talk(&type_url) else { return Heard::NOTHING };
        let error = match topic {
            Topic::Names => names::too_large(length),
            Topic::Trust => trust::too_large(length),
        };
        talk.heard_unfit(topic, nonce, &version, error)
    }

    /// What a response of this type is about, if it was asked for.
    fn talk(&mut self, type_url: &str) -> Option<(Topic, &mut Talk)> {
        match (type_url, &mut self.trust) {
            (type_url::NAME_TABLE, _) => Some((Topic::Names, &mut self.names)),
            (type_url::PROXY_CONFIG, Some(trust)) => Some((Topic::Trust, trust)),
            _ => None,
        }
    }
}

impl Talk {
    fn new(type_url: &'static str) -> Self {
        Self { type_url, version: String::new() }
    }

    fn request(&self) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.version.clone(),
            type_url: self.type_url.to_owned(),
            ..DiscoveryRequest::default()
        }
    }

    /// Acknowledges the response with that nonce.
    fn take(&mut self, nonce: String, version: String) -> DiscoveryRequest {
        self.version = version;
        DiscoveryRequest { response_nonce: nonce, ..self.request() }
    }

    fn heard_unfit(&self, topic: Topic, nonce: String, version: &str, error: String) -> Heard {
        let reply = Some(self.refuse(nonce, error.clone()));
        let version = version.chars().take(LONGEST_NOTE).collect();
        Heard { news: Some(News::Refused { topic, version, error }), reply }
    }

    /// Refuses the response with that nonce.
    fn refuse(&self, nonce: String, message: String) -> DiscoveryRequest {
        let status = rpc::Status { code: INTERNAL, message, details: Vec::new() };
        DiscoveryRequest { response_nonce: nonce, error_detail: Some(status), ..self.request() }
    }
}

/// No response is held that is larger.
pub(super) const LARGEST: usize = names::LARGEST;
const LONGEST_NOTE: usize = 512;
/// `google.rpc.Code.INTERNAL`, with which Envoy and istiod's own agent refuse.
const INTERNAL: i32 = 13;
