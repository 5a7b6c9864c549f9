//! The agent's node as Envoy's protobuf, for streams of its own.

use hawser_node::Node;
use hawser_proto::envoy::{
    envoy::config::core::v3::{self as core, Locality, node::UserAgentVersionType},
    google::protobuf::{ListValue, Struct, Value, value::Kind},
};
use serde_json::{Map, Value as Json};

/// How the agent introduces itself to istiod: as the workload, under its own product's name.
///
/// It does not ask to be registered. istiod keeps the machine's entry for as long as the *newest*
/// stream that asked lives, and sends traffic to it meanwhile: that has to be Envoy's stream and
/// no other, or the entry outlives Envoy, or is there before it.
pub(crate) fn introduce(node: &Node) -> core::Node {
    let mut metadata = node.metadata.clone();
    for asking in ["AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY"] {
        metadata.remove(asking);
    }
    let hawser_node::Locality { region, zone, sub_zone } = node.locality.clone();
    core::Node {
        id: node.id.clone(),
        cluster: node.cluster.clone(),
        metadata: Some(structure(&metadata)),
        locality: Some(Locality { region, zone, sub_zone }),
        user_agent_name: "hawser".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
        ..core::Node::default()
    }
}

fn structure(object: &Map<String, Json>) -> Struct {
    Struct { fields: object.iter().map(|(key, value)| (key.clone(), convert(value))).collect() }
}

fn convert(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        // A number that no f64 comes near to does not occur in JSON that was parsed.
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(convert).collect() })
        }
        Json::Object(object) => Kind::StructValue(structure(object)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_json_has_its_value() {
        let Json::Object(metadata) = serde_json::json!({
            "NAME": "vm", "ON": true, "NONE": null, "PORT": 15012, "RATIO": 0.5,
            "LABELS": {"app": "x"}, "LIST": ["a", 1],
        }) else {
            panic!("an object");
        };
        let node = Node {
            id: "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local".to_owned(),
            cluster: "vm.vms".to_owned(),
            locality: hawser_node::Locality {
                region: "r".to_owned(),
                zone: "z".to_owned(),
                sub_zone: String::new(),
            },
            ips: Vec::new(),
            metadata,
        };

        let node = introduce(&node);

        assert_eq!(node.id, "sidecar~10.0.0.1~vm.vms~vms.svc.cluster.local");
        assert_eq!(node.cluster, "vm.vms");
        assert_eq!(node.locality.unwrap().zone, "z");
        let fields = node.metadata.unwrap().fields;
        let kind = |name: &str| fields[name].kind.clone().unwrap();
        assert_eq!(kind("NAME"), Kind::StringValue("vm".to_owned()));
        assert_eq!(kind("ON"), Kind::BoolValue(true));
        assert_eq!(kind("NONE"), Kind::NullValue(0));
        assert_eq!(kind("PORT"), Kind::NumberValue(15012.0));
        assert_eq!(kind("RATIO"), Kind::NumberValue(0.5));
        let Kind::StructValue(labels) = kind("LABELS") else { panic!("a struct") };
        assert_eq!(labels.fields["app"].kind, Some(Kind::StringValue("x".to_owned())));
        let Kind::ListValue(list) = kind("LIST") else { panic!("a list") };
        assert_eq!(list.values.len(), 2);
    }
}
