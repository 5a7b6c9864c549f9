//! Names as they travel: labels led by their length, in lower case, without the root's zero octet.
//!
//! A name is held in place, so reading one allocates nothing. What is true of every name:
//!
//! - A label has 1 to 63 octets, the whole at most 254, hence at most 127 labels.
//! - A suffix is compared from the start of a label: octets of a label that happen to look like
//!   the end of another name match nothing.

mod address;

use std::fmt;

/// A name in wire form, in lower case.
#[derive(Clone)]
pub struct Name {
    /// Two more than the longest has, so that whole chunks are copied. What lies behind `len` is
    /// anything.
    octets: [u8; Self::MAX + 2],
    starts: [u8; Self::MAX_LABELS + 1],
    len: u8,
    labels: u8,
}

impl Name {
    /// The name of no label.
    pub const ROOT: Self =
        Self { octets: [0; Self::MAX + 2], starts: [0; Self::MAX_LABELS + 1], len: 0, labels: 0 };

    /// Octets of the longest name: 255 (RFC 1035 §2.3.4) less the root's.
    pub const MAX: usize = 254;
    const MAX_LABELS: usize = 127;

    /// Reads the name that begins at `start` of a message.
    ///
    /// The only name read this way is that of a question, the first of its message: there is
    /// nothing before it that a compression pointer could mean, so a pointer is an error.
    pub fn read(message: &[u8], start: usize) -> Option<Self> {
        let mut name = Self::ROOT;
        name.fill(message, start)?;
        Some(name)
    }

    /// Reads a name as [`Name::read`] does, into this one; gives where it ends.
    ///
    /// What cannot be read leaves it as some other name.
    #[inline]
    pub fn fill(&mut self, message: &[u8], start: usize) -> Option<usize> {
        let message = message.get(start..)?;
        let (mut end, mut labels) = (0, 0);
        while let Some(length) = label(message, end)? {
            *self.starts.get_mut(labels)? = u8::try_from(end).ok()?;
            labels += 1;
            end += 1 + length;
        }
        if end > Self::MAX {
            return None;
        }
        copy_in_lower_case(message, end, &mut self.octets);
        self.len = u8::try_from(end).ok()?;
        self.labels = u8::try_from(labels).ok()?;
        Some(start + end + 1)
    }

    /// Where the name ends that [`Name::read`] would read.
    pub fn end(message: &[u8], start: usize) -> Option<usize> {
        let mut end = start;
        while let Some(length) = label(message, end)? {
            end += 1 + length;
        }
        (end - start <= Self::MAX).then_some(end + 1)
    }

    /// Reads a host name, with or without the final dot; a first label `*` is allowed.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for (index, label) in text.split('.').enumerate() {
            let wildcard = index == 0 && label == "*";
            let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
            if label.is_empty() || !wildcard && !label.bytes().all(plain) {
                return None;
            }
            wire.push(u8::try_from(label.len()).ok()?);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self::read(&wire, 0)
    }

    /// All octets of the name.
    pub fn octets(&self) -> &[u8] {
        self.after(0)
    }

    /// Number of labels; the root has none.
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The octets that are left when the first `labels` labels are taken away.
    pub fn after(&self, labels: usize) -> &[u8] {
        self.octets.get(self.start(labels)..usize::from(self.len)).unwrap_or_default()
    }

    /// The octets between the first `skipped` labels and `domain`, if the name ends in `domain`.
    ///
    /// Nothing, if no label is left, or if what is left ends in `domain` once more: nobody's
    /// resolver appends a search domain twice.
    pub fn within(&self, skipped: usize, domain: &Self) -> Option<&[u8]> {
        let cut = self.labels().checked_sub(domain.labels())?;
        if cut <= skipped || self.after(cut) != domain.octets() {
            return None;
        }
        let left = self.octets.get(self.start(skipped)..self.start(cut))?;
        let twice = cut.checked_sub(domain.labels()).is_some_and(|earlier| {
            let before = self.octets.get(self.start(earlier)..self.start(cut));
            earlier >= skipped && before == Some(domain.octets())
        });
        (!twice).then_some(left)
    }

    /// Whether the name is `domain` or lies below it.
    pub fn ends_with(&self, domain: &Self) -> bool {
        self.labels()
            .checked_sub(domain.labels())
            .is_some_and(|cut| self.after(cut) == domain.octets())
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.octets().starts_with(b"\x01*")
    }

    /// The octets of one label, without its length.
    fn label(&self, label: usize) -> &[u8] {
        self.octets.get(self.start(label) + 1..self.start(label + 1)).unwrap_or_default()
    }

    fn start(&self, label: usize) -> usize {
        if label < self.labels() {
            usize::from(self.starts.get(label).copied().unwrap_or(self.len))
        } else {
            usize::from(self.len)
        }
    }
}

/// Length of the label that begins at `at`; the root has none.
fn label(message: &[u8], at: usize) -> Option<Option<usize>> {
    match *message.get(at)? {
        0 => Some(None),
        length @ 1..=63 => Some(Some(usize::from(length))),
        _ => None,
    }
}

/// Copies the first `len` octets, and maybe some of what follows them.
///
/// A length is below the letters, so it stays what it is. Behind a name there is a type, a class
/// and mostly an OPT record, hence as a rule a whole last chunk.
#[inline]
fn copy_in_lower_case(from: &[u8], len: usize, to: &mut [u8]) {
    let (chunks, _) = from.as_chunks::<16>();
    let (places, _) = to.as_chunks_mut::<16>();
    let mut copied = 0;
    for (place, chunk) in places.iter_mut().zip(chunks) {
        if copied >= len {
            return;
        }
        *place = chunk.map(|octet| octet.to_ascii_lowercase());
        copied += 16;
    }
    let rest = from.get(copied..len).unwrap_or_default();
    for (place, octet) in to.iter_mut().skip(copied).zip(rest) {
        *place = octet.to_ascii_lowercase();
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in 0..self.labels() {
            write!(f, "{}.", self.label(label).escape_ascii())?;
        }
        if self.labels == 0 { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn octets(text: &str) -> Vec<u8> {
        name(text).octets().to_vec()
    }

    #[test]
    fn a_name_is_read_in_lower_case_and_says_where_it_ends() {
        let message = b"??\x03wWw\x06GOOGLE\x03com\x00rest";

        let read = Name::read(message, 2).unwrap();

        assert_eq!(read.to_string(), "www.google.com.");
        assert_eq!(read.labels(), 3);
        assert_eq!(Name::end(message, 2), Some(message.len() - 4));
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        let mut endless = [1, b'a'].repeat(128);
        endless.push(0);
        let mut long_label = vec![64];
        long_label.extend([b'a'; 64]);
        long_label.push(0);
        let cases: [&[u8]; 6] = [b"", b"\x03ww", b"\x03www", b"\xc0\x0c", &endless, &long_label];
        for case in cases {
            assert!(Name::read(case, 0).is_none(), "{}", case.escape_ascii());
            assert!(Name::end(case, 0).is_none(), "{}", case.escape_ascii());
        }
        assert!(Name::read(b"\x00", usize::MAX).is_none());
    }

    #[test]
    fn the_longest_name_is_read() {
        let mut message = [1, b'a'].repeat(127);
        message.push(0);
        assert_eq!(Name::read(&message, 0).unwrap().labels(), 127);
        assert_eq!(Name::end(&message, 0), Some(255));
    }

    #[test]
    fn host_names_are_checked() {
        for good in ["a", "a.", "*.a", "_sip._tcp.x", "A-1.b", "example.localhost."] {
            assert!(Name::parse(good).is_some(), "{good}");
        }
        let long = format!("{}.x", "a".repeat(64));
        let whole = vec!["a".repeat(63); 4].join(".");
        for bad in
            ["", ".", "a..b", "..", ".a", "a.*.b", "*a.b", "a b", "ä.x", "a\n", &long, &whole]
        {
            assert!(Name::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_domain_is_taken_off_once_and_only_at_a_label() {
        let domain = name("ns1.svc");
        let cases = [
            ("www.ns1.svc", Some("www")),
            ("a.b.ns1.svc", Some("a.b")),
            ("ns1.svc", None),
            ("svc", None),
            ("xns1.svc", None),
            ("www.ns1.svc.ns1.svc", None),
            ("ns1.svc.ns1.svc", None),
        ];
        for (whole, left) in cases {
            assert_eq!(
                name(whole).within(0, &domain).map(<[u8]>::to_vec),
                left.map(octets),
                "{whole}"
            );
        }
        assert_eq!(name("x.www.ns1.svc").within(1, &domain), Some(&*octets("www")));
        assert_eq!(name("x.ns1.svc").within(1, &domain), None);
    }

    #[test]
    fn octets_that_look_like_a_suffix_are_none() {
        // one label whose octets spell "\x03svc"
        let odd = Name::read(b"\x05a\x03svc\x00", 0).unwrap();
        assert!(!odd.ends_with(&name("svc")));
        assert_eq!(odd.within(0, &name("svc")), None);
    }
}
