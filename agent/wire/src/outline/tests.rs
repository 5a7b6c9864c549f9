//! What is shown of messages.

use hawser_proto::envoy::{
    envoy::{config::cluster::v3::Cluster, service::discovery::v3::Resource},
    google::protobuf::{Any, Duration, StringValue},
};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::write;

#[test]
fn a_resource_is_shown_leaf_by_leaf_with_the_type_of_what_is_packed() {
    let cluster = Cluster {
        name: "outbound|80||a.test".to_owned(),
        connect_timeout: Some(Duration { seconds: 10, nanos: 0 }),
        ..Cluster::default()
    };
    let message = Resource {
        name: "outbound|80||a.test".to_owned(),
        resource: Some(Any {
            type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
            value: cluster.encode_to_vec(),
        }),
        ..Resource::default()
    }
    .encode_to_vec();
    let expected = [
        r#"2: [type.googleapis.com/envoy.config.cluster.v3.Cluster]"#,
        r#"2.1: "type.googleapis.com/envoy.config.cluster.v3.Cluster""#,
        r#"2.2.1: "outbound|80||a.test""#,
        r#"2.2.4.1: 10"#,
        r#"3: "outbound|80||a.test""#,
    ];
    assert_eq!(outline(&message), expected);
}

#[test]
fn what_is_packed_is_a_message_even_if_it_could_be_printed() {
    let message = Any {
        type_url: "type.googleapis.com/google.protobuf.StringValue".to_owned(),
        value: StringValue { value: "thirty-two letters, all to see..".to_owned() }.encode_to_vec(),
    };
    let lines = outline(&message.encode_to_vec());
    assert_eq!(lines[1], r#"2.1: "thirty-two letters, all to see..""#);
}

#[test]
fn leaves_of_all_kinds_are_shown_and_long_ones_cut() {
    let mut message = Vec::new();
    write::number(&mut message, 1, u64::MAX);
    write::bytes(&mut message, 2, "a \"b\"\nä".as_bytes());
    write::bytes(&mut message, 3, b"");
    write::bytes(&mut message, 4, &[0xff; 20]);
    write::bytes(&mut message, 5, "ä".repeat(TEXT + 1).as_bytes());
    write::tag(&mut message, 6, 5);
    message.extend_from_slice(&7_u32.to_le_bytes());
    let expected = [
        "1: 18446744073709551615".to_owned(),
        r#"2: "a \"b\"\nä""#.to_owned(),
        r#"3: """#.to_owned(),
        format!("4: <20 bytes, begins {}…>", "ff".repeat(16)),
        format!("5: \"{}\"… (802 bytes)", "ä".repeat(TEXT)),
        "6: 7".to_owned(),
    ];
    assert_eq!(outline(&message), expected);
}

#[test]
fn what_is_no_message_is_shown_as_what_it_is() {
    assert_eq!(outline(&[0xff, 1]), ["<2 bytes, begins ff01>"]);
    assert!(outline(&[]).is_empty());
}

#[test]
fn a_message_of_any_size_has_its_bounds() {
    let lines = outline(&[0x08, 1].repeat(LINES + 10));
    assert_eq!(lines.len(), LINES + 1);
    assert_eq!(lines.last().map(String::as_str), Some("… and more"));
    let mut nested = vec![0x08, 1];
    for _ in 0..1000 {
        let mut around = Vec::new();
        write::bytes(&mut around, 3, &nested);
        nested = around;
    }
    let lines = outline(&nested);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with(&"3.".repeat(DEPTH)), "{}", lines[0]);
}

proptest! {
    #[test]
    fn any_bytes_have_an_outline(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(outline(&bytes).len() <= bytes.len());
    }
}
