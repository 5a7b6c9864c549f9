//! Which of a machine's addresses is *the* address, and what becomes of a node when they change.

use std::net::IpAddr;

use crate::{Error, Node, id, metadata};

/// The addresses of a machine in the order in which it names them: the one that was set, then
/// the one from which it speaks to istiod, then the others as they are.
///
/// A source that is none of the machine's `others` does not count: it is loopback, or link-local,
/// where a tunnel leads to istiod, and nobody else reaches the machine there. Without any address
/// there is loopback.
pub fn order(set: Option<IpAddr>, source: Option<IpAddr>, others: &[IpAddr]) -> Vec<IpAddr> {
    let source = source.map(|ip| ip.to_canonical()).filter(|ip| others.contains(ip));
    let mut ips = id::once(set.into_iter().chain(source).chain(others.iter().copied()));
    if ips.is_empty() {
        ips.push(IpAddr::from([127, 0, 0, 1]));
    }
    ips
}

impl Node {
    /// The same node at other addresses.
    pub fn with_ips(&self, ips: &[IpAddr]) -> Result<Self, Error> {
        let ips = id::addresses(ips)?;
        let id = id::moved(&self.id, &ips)?;
        let mut metadata = self.metadata.clone();
        metadata.insert(metadata::INSTANCE_IPS.into(), metadata::joined(&ips).into());
        Ok(Self { id, ips, metadata, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::facts;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_address_that_was_set_comes_first_then_the_one_that_istiod_sees() {
        let all = ["10.0.0.5", "192.168.1.7", "fd00::5"];
        let cases: [(&str, &str, &[&str], &[&str]); 9] = [
            ("", "", &all, &all),
            ("", "192.168.1.7", &all, &["192.168.1.7", "10.0.0.5", "fd00::5"]),
            ("", "::ffff:192.168.1.7", &all, &["192.168.1.7", "10.0.0.5", "fd00::5"]),
            ("", "fd00::5", &all, &["fd00::5", "10.0.0.5", "192.168.1.7"]),
            ("1.2.3.4", "fd00::5", &all, &["1.2.3.4", "fd00::5", "10.0.0.5", "192.168.1.7"]),
            ("fd00::5", "fd00::5", &all, &["fd00::5", "10.0.0.5", "192.168.1.7"]),
            ("", "127.0.0.1", &all, &all),
            ("1.2.3.4", "", &[], &["1.2.3.4"]),
            ("", "127.0.0.1", &[], &["127.0.0.1"]),
        ];

        for (set, source, others, expected) in cases {
            let found = order(set.parse().ok(), source.parse().ok(), &ips(others));
            assert_eq!(found, ips(expected), "set {set:?}, source {source:?}");
        }
    }

    #[test]
    fn a_node_that_has_moved_differs_in_its_addresses_and_nothing_else() {
        let (node, _) = Node::new(&facts()).unwrap();

        let moved = node.with_ips(&ips(&["10.9.9.9", "::ffff:10.9.9.9", "fd00::9"])).unwrap();

        assert_eq!(moved.id, "sidecar~10.9.9.9~vm-1.bar~bar.svc.cluster.local");
        assert_eq!(moved.ips, ips(&["10.9.9.9", "fd00::9"]));
        assert_eq!(moved.metadata["INSTANCE_IPS"], "10.9.9.9,fd00::9");
        let facts = crate::Facts { ips: moved.ips.clone(), ..facts() };
        assert_eq!(moved, Node::new(&facts).unwrap().0, "as if it had been made there");
        assert_eq!(moved.with_ips(&node.ips).unwrap(), node);
        assert_eq!(node.with_ips(&[]), Err(Error::NoAddress));
    }
}
