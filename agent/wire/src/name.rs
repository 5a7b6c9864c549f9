//! The name of a resource that says it itself.

use crate::Fields;

/// The types whose field 1 is the name, behind `type.googleapis.com/`.
const NAMED: [&str; 9] = [
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.route.v3.VirtualHost",
    "envoy.config.route.v3.ScopedRouteConfiguration",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.service.runtime.v3.Runtime",
];

/// The name under which a resource is subscribed to, out of the value of its `Any`: what delta
/// says beside each resource and state of the world does not. `None`: it has none, or the type is
/// not known to have one.
pub fn resource_name<'a>(type_url: &str, value: &'a [u8]) -> Option<&'a str> {
    let (_, short) = type_url.rsplit_once('/')?;
    if !NAMED.contains(&short) {
        return None;
    }
    Fields::last(value, 1).ok()??.text().ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_of_types_that_have_one() {
        let of = |short: &str, value| resource_name(&format!("type.googleapis.com/{short}"), value);
        let value = b"\x0a\x01a\x0a\x02bc\x18\x07";
        for short in NAMED {
            assert_eq!(of(short, value), Some("bc"), "{short}");
            assert_eq!(of(short, b"\x18\x07"), None);
            assert_eq!(of(short, b"\x0a\x00"), None);
            assert_eq!(of(short, b"\x0a\x05a"), None);
            assert_eq!(of(short, b"\x0a\x01\xff"), None);
            assert_eq!(resource_name(short, value), None, "no type url");
        }
        assert_eq!(of("istio.networking.nds.v1.NameTable", value), None);
    }
}
