//! Where the machine stands, read from its labels.

use serde_json::{Map, Value};

/// Region, zone and sub-zone; what is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locality {
    /// The largest part, say `europe-west3`.
    pub region: String,
    /// A part of the region.
    pub zone: String,
    /// A part of the zone.
    pub sub_zone: String,
}

impl Locality {
    /// The locality as Envoy's JSON; what is not known is left out.
    pub fn to_json(&self) -> Value {
        let parts = [("region", &self.region), ("zone", &self.zone), ("sub_zone", &self.sub_zone)];
        let known = parts.into_iter().filter(|(_, value)| !value.is_empty());
        Value::Object(known.map(|(key, value)| (key.into(), value.as_str().into())).collect())
    }

    /// Parts divided by slashes; what follows the third is no locality of Envoy's.
    fn parse(text: &str) -> Self {
        let mut parts = text.split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        Self { region: part(), zone: part(), sub_zone: part() }
    }
}

/// Reads the locality from the labels and writes it back to [`OLD_LABEL`], where istiod looks, in
/// the form with slashes that a Kubernetes label cannot have.
pub(crate) fn settle(metadata: &mut Map<String, Value>) -> Locality {
    let label = |key| metadata.get("LABELS")?.get(key)?.as_str();
    let said = label(LABEL).or_else(|| label(OLD_LABEL)).unwrap_or_default();
    if said.is_empty() {
        return Locality::default();
    }
    let text = if said.contains('/') { said.to_owned() } else { said.replace('.', "/") };
    // Without labels from elsewhere both keys name one map, and stay so.
    let same = metadata.get("LABELS") == metadata.get("STATIC_LABELS");
    let keys: &[&str] = if same { &["LABELS", "STATIC_LABELS"] } else { &["LABELS"] };
    for key in keys {
        if let Some(Value::Object(labels)) = metadata.get_mut(*key) {
            labels.insert(OLD_LABEL.into(), text.as_str().into());
        }
    }
    Locality::parse(&text)
}

const LABEL: &str = "topology.istio.io/locality";
const OLD_LABEL: &str = "istio-locality";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_labels_say_where_the_machine_stands() {
        let cases = [
            (json!({}), json!({}), None),
            (json!({"istio-locality": ""}), json!({}), Some("")),
            (json!({"istio-locality": "r"}), json!({"region": "r"}), Some("r")),
            (json!({"istio-locality": "r.z"}), json!({"region": "r", "zone": "z"}), Some("r/z")),
            (
                json!({"istio-locality": "r/z.1/s"}),
                json!({"region": "r", "zone": "z.1", "sub_zone": "s"}),
                Some("r/z.1/s"),
            ),
            (
                json!({"istio-locality": "r//s"}),
                json!({"region": "r", "sub_zone": "s"}),
                Some("r//s"),
            ),
            (
                json!({"istio-locality": "a/b", "topology.istio.io/locality": "r.z.s.t"}),
                json!({"region": "r", "zone": "z", "sub_zone": "s"}),
                Some("r/z/s/t"),
            ),
        ];

        for (labels, expected, written) in cases {
            let mut metadata = Map::from_iter([("LABELS".to_owned(), labels)]);
            assert_eq!(settle(&mut metadata).to_json(), expected);
            let label = metadata["LABELS"].get(OLD_LABEL).and_then(Value::as_str);
            assert_eq!(label, written);
        }
    }
}
