//! Names that stand for addresses (RFC 1035 §3.5, RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Name;

const V4: &[u8] = b"\x07in-addr\x04arpa";
const V6: &[u8] = b"\x03ip6\x04arpa";

impl Name {
    /// The address that the name stands for, if it is one of those that resolvers ask for.
    ///
    /// A name below a part of an address, or with octets or digits written otherwise, is a name
    /// like any other.
    pub fn address(&self) -> Option<IpAddr> {
        match self.labels() {
            6 if self.after(4) == V4 => self.v4().map(IpAddr::V4),
            34 if self.after(32) == V6 => self.v6().map(IpAddr::V6),
            _ => None,
        }
    }

    fn v4(&self) -> Option<Ipv4Addr> {
        let mut octets = [0; 4];
        // The last octet comes first.
        for (index, octet) in octets.iter_mut().rev().enumerate() {
            let digits = self.label(index);
            *octet = str::from_utf8(digits).ok()?.parse().ok()?;
            let canonical = digits.iter().all(u8::is_ascii_digit)
                && (digits.len() == 1 || !digits.starts_with(b"0"));
            if !canonical {
                return None;
            }
        }
        Some(octets.into())
    }

    fn v6(&self) -> Option<Ipv6Addr> {
        let mut octets = [0; 16];
        for (index, octet) in octets.iter_mut().rev().enumerate() {
            let (low, high) = (self.digit(2 * index)?, self.digit(2 * index + 1)?);
            *octet = high << 4 | low;
        }
        Some(octets.into())
    }

    fn digit(&self, label: usize) -> Option<u8> {
        match *self.label(label) {
            [digit @ b'0'..=b'9'] => Some(digit - b'0'),
            [digit @ b'a'..=b'f'] => Some(digit - b'a' + 10),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Name::parse(text).unwrap().address()
    }

    #[test]
    fn an_address_is_read_from_its_last_digit_to_its_first() {
        let v6 = "9.2.3.8.2.4.0.0.0.0.f.f.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.IP6.arpa";
        for (name, expected) in [
            ("4.3.2.1.in-addr.arpa", "1.2.3.4"),
            ("0.0.0.0.In-Addr.ARPA.", "0.0.0.0"),
            ("255.255.10.240.in-addr.arpa", "240.10.255.255"),
            (v6, "2001:db8::ff00:42:8329"),
            (&v6.to_uppercase(), "2001:db8::ff00:42:8329"),
        ] {
            assert_eq!(address(name), Some(expected.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn what_is_not_quite_an_address_is_none() {
        let nibbles = "0.".repeat(32);
        for name in [
            "in-addr.arpa".to_owned(),
            "3.2.1.in-addr.arpa".to_owned(),
            "5.4.3.2.1.in-addr.arpa".to_owned(),
            "256.3.2.1.in-addr.arpa".to_owned(),
            "04.3.2.1.in-addr.arpa".to_owned(),
            "00.3.2.1.in-addr.arpa".to_owned(),
            "a.3.2.1.in-addr.arpa".to_owned(),
            "-1.3.2.1.in-addr.arpa".to_owned(),
            "1234.3.2.1.in-addr.arpa".to_owned(),
            "_dns.4.3.2.1.in-addr.arpa".to_owned(),
            "4.3.2.1.in-addr.arpa.svc".to_owned(),
            "4.3.2.1.in-addr.example".to_owned(),
            "4.3.2.1.ip6.arpa".to_owned(),
            format!("{nibbles}in-addr.arpa"),
            format!("0.{nibbles}ip6.arpa"),
            format!("{}ip6.arpa", nibbles.replacen('0', "00", 1)),
            format!("{}ip6.arpa", nibbles.replacen('0', "g", 1)),
            format!("{}ip6.arpa", "0.".repeat(31)),
        ] {
            assert_eq!(address(&name), None, "{name}");
        }
        // "+4" parses as a number
        let signed = Name::read(b"\x02+4\x013\x012\x011\x07in-addr\x04arpa\0", 0).unwrap();
        assert_eq!(signed.address(), None);
    }
}
