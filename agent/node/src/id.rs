//! The node id, which istiod takes apart at `~`.

use std::net::IpAddr;

use crate::{Error, Facts};

/// The addresses in their plain form, each once, in the order given.
pub(crate) fn addresses(given: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let ips = once(given.iter().copied());
    if ips.is_empty() { Err(Error::NoAddress) } else { Ok(ips) }
}

/// Each address once, in its plain form.
pub(crate) fn once(given: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for ip in given.map(|ip| ip.to_canonical()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

/// `sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN`.
pub(crate) fn id(facts: &Facts, ips: &[IpAddr]) -> Result<String, Error> {
    let address = ips.first().ok_or(Error::NoAddress)?;
    let name = part("machine name", &facts.name)?;
    let namespace = part("namespace", &facts.namespace)?;
    let domain = match &facts.domain {
        Some(domain) => part("domain", domain)?.to_owned(),
        None => format!("{namespace}.svc.cluster.local"),
    };
    Ok(format!("{KIND}~{address}~{name}.{namespace}~{domain}"))
}

/// The id of the same machine at other addresses.
pub(crate) fn moved(id: &str, ips: &[IpAddr]) -> Result<String, Error> {
    let address = ips.first().ok_or(Error::NoAddress)?.to_string();
    let part = |(place, part)| if place == ADDRESS { address.as_str() } else { part };
    let parts: Vec<&str> = id.split('~').enumerate().map(part).collect();
    Ok(parts.join("~"))
}

fn part<'a>(part: &'static str, value: &'a str) -> Result<&'a str, Error> {
    let foreign = |c: char| c == '~' || c == '/' || c.is_whitespace() || c.is_control();
    if value.is_empty() || value.contains(foreign) {
        return Err(Error::Part { part, value: value.to_owned() });
    }
    Ok(value)
}

/// What istiod calls a workload's own proxy.
const KIND: &str = "sidecar";
/// Which part of an id the address is.
const ADDRESS: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::facts;

    #[test]
    fn the_id_has_four_parts() {
        let machine = |ips: &[&str], domain: Option<&str>| Facts {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            name: "vm".into(),
            namespace: "shop".into(),
            domain: domain.map(Into::into),
            ..facts()
        };
        let cases = [
            (machine(&["10.0.0.5"], None), "sidecar~10.0.0.5~vm.shop~shop.svc.cluster.local"),
            (
                machine(&["10.0.0.5", "fd00::1"], None),
                "sidecar~10.0.0.5~vm.shop~shop.svc.cluster.local",
            ),
            (
                machine(&["fd00::1", "10.0.0.5"], None),
                "sidecar~fd00::1~vm.shop~shop.svc.cluster.local",
            ),
            (
                machine(&["::ffff:10.0.0.5"], None),
                "sidecar~10.0.0.5~vm.shop~shop.svc.cluster.local",
            ),
            (
                machine(&["10.0.0.5"], Some("shop.svc.corp")),
                "sidecar~10.0.0.5~vm.shop~shop.svc.corp",
            ),
        ];

        for (facts, expected) in cases {
            let ips = addresses(&facts.ips).unwrap();
            assert_eq!(id(&facts, &ips).unwrap(), expected);
        }
    }

    #[test]
    fn a_part_that_would_tear_the_id_apart_is_refused_by_name() {
        let ips = ["10.0.0.5".parse().unwrap()];
        let cases = [
            (Facts { name: String::new(), ..facts() }, r#"machine name is """#),
            (Facts { name: "a~b".into(), ..facts() }, r#"machine name is "a~b""#),
            (Facts { namespace: "a b".into(), ..facts() }, r#"namespace is "a b""#),
            (Facts { domain: Some("a\n".into()), ..facts() }, r#"domain is "a\n""#),
        ];

        for (facts, expected) in cases {
            let error = id(&facts, &ips).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(addresses(&[]), Err(Error::NoAddress));
    }

    #[test]
    fn an_address_is_named_once() {
        let given =
            ["10.0.0.5", "fd00::1", "::ffff:10.0.0.5", "10.0.0.6"].map(|ip| ip.parse().unwrap());

        let ips = addresses(&given).unwrap();

        let expected: Vec<IpAddr> =
            ["10.0.0.5", "fd00::1", "10.0.0.6"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(ips, expected);
    }
}
