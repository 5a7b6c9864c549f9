//! The conversation about the name table, as values: responses in, tables and replies out.

use hawser_proto::{
    envoy::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        },
        google::rpc,
    },
    istio::nds::NameTable,
    type_url,
};
use prost::Message;

use crate::wire::Fields;

/// What one stream has agreed on.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The last version that was taken.
    version: String,
}

/// What a response brought.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    /// None if it was not about names.
    pub(super) news: Option<News>,
    /// To be sent once the news is published.
    pub(super) reply: Option<DiscoveryRequest>,
}

/// What there is to tell.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    Table {
        table: NameTable,
        version: String,
    },
    Refused {
        version: String,
        error: String,
    },
    /// A response without a table: it changes nothing.
    Nothing,
}

/// Why a table is refused.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("name table of {bytes} bytes is too large, at most {LARGEST} are taken")]
    Large { bytes: usize },
    #[error("name table has more than {MOST_NAMES} names")]
    Names,
    #[error("name table cannot be decoded: {0}")]
    Undecodable(String),
}

impl Conversation {
    /// Begins anew; the request is the first of the stream.
    pub(super) fn begin(node: Node) -> (Self, DiscoveryRequest) {
        let request = DiscoveryRequest {
            node: Some(node),
            type_url: type_url::NAME_TABLE.to_owned(),
            ..DiscoveryRequest::default()
        };
        (Self::default(), request)
    }

    pub(super) fn hear(&mut self, message: &[u8]) -> Heard {
        let seen = match crate::Response::scan(crate::Flavour::Sotw, message) {
            Ok(seen) if seen.type_url == type_url::NAME_TABLE => seen,
            // Nothing else was asked for, and what was not asked for is not answered.
            _ => return Heard { news: None, reply: None },
        };
        let (nonce, version) = (seen.nonce.to_owned(), seen.version.to_owned());
        match read(message) {
            Ok(table) => {
                self.version.clone_from(&version);
                let news = table.map_or(News::Nothing, |table| News::Table { table, version });
                Heard { news: Some(news), reply: Some(self.reply(nonce, None)) }
            }
            Err(unfit) => {
                let error = unfit.to_string();
                let reply = self.reply(nonce, Some(error.clone()));
                let version = version.chars().take(LONGEST_NOTE).collect();
                Heard { news: Some(News::Refused { version, error }), reply: Some(reply) }
            }
        }
    }

    /// Acknowledges the response with that nonce, or refuses it.
    fn reply(&self, nonce: String, refusal: Option<String>) -> DiscoveryRequest {
        let status = |message| rpc::Status { code: INTERNAL, message, details: Vec::new() };
        DiscoveryRequest {
            version_info: self.version.clone(),
            type_url: type_url::NAME_TABLE.to_owned(),
            response_nonce: nonce,
            error_detail: refusal.map(status),
            ..DiscoveryRequest::default()
        }
    }
}

/// The table in a response; none if there is none. Counted before it is decoded, because a small
/// message can decode to a large table.
fn read(message: &[u8]) -> Result<Option<NameTable>, Unfit> {
    if message.len() > LARGEST {
        return Err(Unfit::Large { bytes: message.len() });
    }
    let undecodable = |error: prost::DecodeError| Unfit::Undecodable(error.to_string());
    let response = DiscoveryResponse::decode(message).map_err(undecodable)?;
    let Some(resource) = response.resources.first() else { return Ok(None) };
    if Fields::new(&resource.value).take(MOST_NAMES + 1).count() > MOST_NAMES {
        return Err(Unfit::Names);
    }
    NameTable::decode(resource.value.as_slice()).map(Some).map_err(undecodable)
}

/// A mesh of 50,000 names is 5 MiB.
const LARGEST: usize = 32 << 20;
const MOST_NAMES: usize = 250_000;
const LONGEST_NOTE: usize = 512;
/// `google.rpc.Code.INTERNAL`, with which Envoy and istiod's own agent refuse.
const INTERNAL: i32 = 13;

#[cfg(test)]
mod tests {
    use hawser_proto::{envoy::google::protobuf::Any, istio::nds::NameInfo};

    use super::*;

    fn response(type_url: &str, version: &str, resources: Vec<Vec<u8>>) -> Vec<u8> {
        let any = |value| Any { type_url: type_url.to_owned(), value };
        DiscoveryResponse {
            version_info: version.to_owned(),
            resources: resources.into_iter().map(any).collect(),
            type_url: type_url.to_owned(),
            nonce: format!("nonce of {version}"),
            ..DiscoveryResponse::default()
        }
        .encode_to_vec()
    }

    fn table(name: &str) -> NameTable {
        let info = NameInfo { ips: vec!["240.240.0.1".to_owned()], ..NameInfo::default() };
        NameTable { table: [(name.to_owned(), info)].into() }
    }

    fn begin() -> Conversation {
        Conversation::begin(Node::default()).0
    }

    #[test]
    fn the_first_request_says_who_asks_and_later_ones_do_not() {
        let node = Node { id: "sidecar~1~2~3".to_owned(), ..Node::default() };
        let (mut conversation, first) = Conversation::begin(node.clone());
        assert_eq!((first.node, first.type_url), (Some(node), type_url::NAME_TABLE.to_owned()));
        assert!(first.resource_names.is_empty() && first.response_nonce.is_empty());

        let message = response(type_url::NAME_TABLE, "v1", vec![table("a").encode_to_vec()]);
        let reply = conversation.hear(&message).reply.unwrap();
        assert_eq!(reply.node, None);
    }

    #[test]
    fn a_table_is_told_and_acknowledged() {
        let message = response(type_url::NAME_TABLE, "v1", vec![table("a.b").encode_to_vec()]);
        let heard = begin().hear(&message);
        let version = "v1".to_owned();
        assert_eq!(heard.news, Some(News::Table { table: table("a.b"), version }));
        let reply = heard.reply.unwrap();
        assert_eq!(
            (reply.version_info.as_str(), reply.response_nonce.as_str()),
            ("v1", "nonce of v1")
        );
        assert_eq!(reply.error_detail, None);
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_with_the_last_good_version() {
        let mut conversation = begin();
        let good = table("a").encode_to_vec();
        conversation.hear(&response(type_url::NAME_TABLE, "v1", vec![good]));
        for bad in [vec![0xff], vec![0x0a, 0x02, 0x0a, 0xff]] {
            let heard = conversation.hear(&response(type_url::NAME_TABLE, "v2", vec![bad]));
            let Some(News::Refused { version, error }) = heard.news else { panic!("refused") };
            assert_eq!(version, "v2");
            assert!(error.starts_with("name table cannot be decoded"), "{error}");
            let reply = heard.reply.unwrap();
            assert_eq!(reply.version_info, "v1");
            assert_eq!(reply.error_detail.unwrap().code, 13);
        }
    }

    #[test]
    fn a_table_with_too_many_names_is_refused_before_it_is_decoded() {
        let mut many = Vec::new();
        (0..=MOST_NAMES).for_each(|_| many.extend([0x0a, 0x00]));
        let heard = begin().hear(&response(type_url::NAME_TABLE, "v1", vec![many]));
        let Some(News::Refused { error, .. }) = heard.news else { panic!("refused") };
        assert_eq!(error, "name table has more than 250000 names");

        let large = response(type_url::NAME_TABLE, "v1", vec![vec![0; LARGEST]]);
        let Some(News::Refused { error, .. }) = begin().hear(&large).news else {
            panic!("refused")
        };
        assert!(error.contains("is too large"), "{error}");
    }

    #[test]
    fn a_response_without_a_table_is_acknowledged_and_changes_nothing() {
        let heard = begin().hear(&response(type_url::NAME_TABLE, "v1", Vec::new()));
        assert_eq!(heard.news, Some(News::Nothing));
        assert_eq!(heard.reply.unwrap().version_info, "v1");
    }

    #[test]
    fn what_was_not_asked_for_is_passed_over() {
        let nothing = Heard { news: None, reply: None };
        assert_eq!(begin().hear(&response(type_url::CLUSTER, "v1", Vec::new())), nothing);
        assert_eq!(begin().hear(b"\xff\xff"), nothing);
    }
}
