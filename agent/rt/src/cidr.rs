//! Ranges of addresses, as an operator writes them.

use std::{fmt, net::IpAddr, str::FromStr};

/// A range of IP addresses: `10.0.0.0/8`, `fd00::/8`, or one address by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    /// How many bits from the left count.
    bits: u8,
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no range of addresses: expected ADDRESS/BITS, as in 10.0.0.0/8")]
pub struct NotACidr {
    text: String,
}

impl Cidr {
    /// The range of the addresses that begin with the first `bits` of `address`.
    pub const fn new(address: IpAddr, bits: u8) -> Self {
        Self { address, bits }
    }

    /// The address, with the bits that do not count as they were written.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits from the left count.
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// The same range, with the bits that do not count cleared.
    #[must_use]
    pub fn masked(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(own) => {
                let ignored = 32_u32.saturating_sub(self.bits.into());
                let kept = u32::MAX.checked_shl(ignored).unwrap_or(0);
                IpAddr::V4((own.to_bits() & kept).into())
            }
            IpAddr::V6(own) => {
                let ignored = 128_u32.saturating_sub(self.bits.into());
                let kept = u128::MAX.checked_shl(ignored).unwrap_or(0);
                IpAddr::V6((own.to_bits() & kept).into())
            }
        };
        Self { address, bits: self.bits }
    }

    /// Whether it holds the address. IPv4 written as IPv6 is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let ignored = 32_u32.saturating_sub(self.bits.into());
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(ignored).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let ignored = 128_u32.saturating_sub(self.bits.into());
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(ignored).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let wrong = || NotACidr { text: text.to_owned() };
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok().ok_or_else(wrong)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            // What Rust would parse besides digits, a sign, is no length of a prefix.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?
            }
            Some(_) => return Err(wrong()),
        };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_holds_what_begins_as_it_does() {
        let cases = [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fc12::1", false),
            ("2001:db8::/33", "2001:db8:8000::", false),
        ];
        for (range, address, holds) in cases {
            assert_eq!(cidr(range).contains(address.parse().unwrap()), holds, "{range} {address}");
        }
    }

    #[test]
    fn a_range_is_masked_to_what_counts() {
        let cases = [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8::1/33", "2001:db8::/33"),
            ("::1/0", "::/0"),
        ];
        for (written, masked) in cases {
            assert_eq!(cidr(written).masked().to_string(), masked);
        }
    }

    #[test]
    fn what_is_no_range_is_refused_by_name() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "ten/8", "10.0/8"] {
            let refused = text.parse::<Cidr>().unwrap_err();
            assert!(refused.to_string().contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"] {
            assert_eq!(cidr(text).to_string(), text);
        }
    }
}
