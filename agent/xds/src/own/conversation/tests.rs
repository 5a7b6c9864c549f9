//! The conversation by tables: what is taken, refused and passed over.

use hawser_proto::{
    envoy::{envoy::service::discovery::v3::DiscoveryResponse, google::protobuf::Any},
    istio::nds::{NameInfo, NameTable},
};
use prost::Message;

use super::{
    names::{LARGEST, MOST_NAMES},
    *,
};

fn response(type_url: &str, version: &str, resources: Vec<Vec<u8>>) -> Bytes {
    let any = |value| Any { type_url: type_url.to_owned(), value };
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: resources.into_iter().map(any).collect(),
        type_url: type_url.to_owned(),
        nonce: format!("nonce of {version}"),
        ..DiscoveryResponse::default()
    }
    .encode_to_vec()
    .into()
}

fn table(name: &str) -> NameTable {
    let info = NameInfo { ips: vec!["240.240.0.1".to_owned()], ..NameInfo::default() };
    NameTable { table: [(name.to_owned(), info)].into() }
}

fn begin() -> Conversation {
    Conversation::begin(Node::default(), true).0
}

/// A `ProxyConfig` with these in `ca_certificates_pem`, and with a field that is not looked at.
fn config(pems: &[&str]) -> Vec<u8> {
    #[derive(Clone, PartialEq, Message)]
    struct Config {
        #[prost(string, tag = "1")]
        config_path: String,
        #[prost(string, repeated, tag = "34")]
        ca_certificates_pem: Vec<String>,
    }
    let ca_certificates_pem = pems.iter().map(|pem| (*pem).to_owned()).collect();
    Config { config_path: "./etc/istio/proxy".to_owned(), ca_certificates_pem }.encode_to_vec()
}

fn root() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Bundle::from_pem(&pem).unwrap().pem().to_owned()
}

fn roots(pem: &str) -> Option<Bundle> {
    Some(Bundle::from_pem(pem).unwrap())
}

#[test]
fn the_first_request_says_who_asks_and_later_ones_do_not() {
    let node = Node { id: "sidecar~1~2~3".to_owned(), ..Node::default() };
    let (mut conversation, first) = Conversation::begin(node.clone(), true);
    let [names, trust] = &*first else { panic!("two: {first:?}") };
    assert_eq!((names.node.as_ref(), &*names.type_url), (Some(&node), type_url::NAME_TABLE));
    assert_eq!((trust.node.as_ref(), &*trust.type_url), (None, type_url::PROXY_CONFIG));
    for request in &first {
        assert!(request.resource_names.is_empty() && request.response_nonce.is_empty());
    }

    let message = response(type_url::NAME_TABLE, "v1", vec![table("a").encode_to_vec()]);
    let reply = conversation.hear(&message).reply.unwrap();
    assert_eq!(reply.node, None);
}

#[test]
fn a_table_is_told_and_acknowledged() {
    let message = response(type_url::NAME_TABLE, "v1", vec![table("a.b").encode_to_vec()]);
    let heard = begin().hear(&message);
    let version = "v1".to_owned();
    assert_eq!(heard.news, Some(News::Names { table: (&table("a.b")).into(), version }));
    let reply = heard.reply.unwrap();
    assert_eq!((reply.version_info.as_str(), reply.response_nonce.as_str()), ("v1", "nonce of v1"));
    assert_eq!(reply.error_detail, None);
}

#[test]
fn what_cannot_be_decoded_is_refused_with_the_last_good_version() {
    let mut conversation = begin();
    let good = table("a").encode_to_vec();
    conversation.hear(&response(type_url::NAME_TABLE, "v1", vec![good]));
    for bad in [vec![0xff], vec![0x0a, 0x02, 0x0a, 0xff]] {
        let heard = conversation.hear(&response(type_url::NAME_TABLE, "v2", vec![bad]));
        let Some(News::Refused { topic, version, error }) = heard.news else { panic!("refused") };
        assert_eq!((topic, version.as_str()), (Topic::Names, "v2"));
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
    let Some(News::Refused { error, .. }) = begin().hear(&large).news else { panic!("refused") };
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
    assert_eq!(begin().hear(&Bytes::from_static(b"\xff\xff")), nothing);
}

#[test]
fn roots_are_told_and_acknowledged_with_a_version_of_their_own() {
    let (one, two) = (root(), root());
    let mut conversation = begin();
    let names = response(type_url::NAME_TABLE, "n7", vec![table("a").encode_to_vec()]);
    conversation.hear(&names);
    for (version, pems) in [("v1", vec![&*one]), ("v2", vec![&*two, "", &*one, two.trim()])] {
        let heard =
            conversation.hear(&response(type_url::PROXY_CONFIG, version, vec![config(&pems)]));
        let bundle = roots(&pems.join("\n"));
        let version = version.to_owned();
        let nonce = format!("nonce of {version}");
        assert_eq!(heard.news, Some(News::Trust { bundle, version: version.clone() }));
        let reply = heard.reply.unwrap();
        assert_eq!((reply.version_info, reply.response_nonce), (version, nonce));
        assert_eq!((&*reply.type_url, reply.error_detail), (type_url::PROXY_CONFIG, None));
    }
    assert_eq!(conversation.hear(&names).reply.unwrap().version_info, "n7");
}

#[test]
fn a_configuration_without_roots_says_that_there_are_no_more() {
    for pems in [&[][..], &[""], &["", " \n"]] {
        let heard = begin().hear(&response(type_url::PROXY_CONFIG, "v1", vec![config(pems)]));
        let version = "v1".to_owned();
        assert_eq!(heard.news, Some(News::Trust { bundle: None, version }));
        assert_eq!(heard.reply.unwrap().version_info, "v1");
    }
}

#[test]
fn a_response_without_a_configuration_is_neither_taken_nor_spoken_of() {
    let heard = begin().hear(&response(type_url::PROXY_CONFIG, "v1", Vec::new()));
    assert_eq!(heard, Heard { news: Some(News::Nothing), reply: None });
}

#[test]
fn roots_that_cannot_be_used_are_refused_once_a_response_with_the_last_good_version() {
    let mut conversation = begin();
    let good = root();
    conversation.hear(&response(type_url::PROXY_CONFIG, "v1", vec![config(&[&good])]));
    let half = good.split_at(good.len() / 2).0;
    let mut cases = vec![
        (vec![0xff], "trust bundle cannot be decoded: not a protobuf message"),
        (config(&["no PEM"]), "trust bundle cannot be used: no certificate found"),
        (config(&[half]), "trust bundle cannot be used: trust bundle has no usable root"),
        (vec![0x92, 0x02, 0x01, 0xff], "trust bundle cannot be decoded"),
        (vec![0; 4 << 20], "trust bundle of 4194"),
    ];
    for (bad, expected) in cases.drain(..) {
        let heard = conversation.hear(&response(type_url::PROXY_CONFIG, "v2", vec![bad]));
        let Some(News::Refused { topic, version, error }) = heard.news else { panic!("refused") };
        assert_eq!((topic, version.as_str()), (Topic::Trust, "v2"));
        assert!(error.starts_with(expected), "{error}");
        let reply = heard.reply.unwrap();
        assert_eq!((&*reply.version_info, &*reply.response_nonce), ("v1", "nonce of v2"));
        assert_eq!(reply.error_detail.unwrap().message, error);
    }
}

#[test]
fn of_roots_among_damaged_ones_the_good_are_taken() {
    let good = root();
    let pems = [good.split_at(good.len() / 2).0, &good];
    let heard = begin().hear(&response(type_url::PROXY_CONFIG, "v1", vec![config(&pems)]));
    let Some(News::Trust { bundle: Some(bundle), .. }) = heard.news else { panic!("roots") };
    assert_eq!((bundle.pem(), bundle.skipped()), (&*good, 1));
}

#[test]
fn roots_that_were_not_asked_for_are_passed_over() {
    let (mut conversation, first) = Conversation::begin(Node::default(), false);
    assert_eq!(first.len(), 1);
    let heard =
        conversation.hear(&response(type_url::PROXY_CONFIG, "v1", vec![config(&[&root()])]));
    assert_eq!(heard, Heard { news: None, reply: None });
}
