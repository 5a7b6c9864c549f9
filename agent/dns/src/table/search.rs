//! What resolvers of this machine append to names, and is taken off again.

use crate::name::Name;

/// Domains that resolvers of this machine append to names, as in resolv.conf.
#[derive(Clone, Debug, Default)]
pub struct Search {
    domains: Vec<Name>,
    /// Labels of the one that has most of them.
    longest: usize,
    /// Whether the first is the first that was given: it may have been none.
    leads: bool,
}

impl Search {
    /// Each costs a lookup per question that is not known at once.
    const MOST: usize = 16;

    /// Takes those that are domains.
    pub fn new(given: &[String]) -> Self {
        let mut search = Self::default();
        for (index, domain) in given.iter().enumerate() {
            let Some(domain) = Name::parse(domain) else { continue };
            let known = search.domains.iter().any(|other| other.octets() == domain.octets());
            if !known && search.domains.len() < Self::MOST {
                search.leads |= index == 0;
                search.longest = search.longest.max(domain.labels());
                search.domains.push(domain);
            }
        }
        search
    }

    /// All of them, in their order.
    pub fn domains(&self) -> &[Name] {
        &self.domains
    }

    /// The first that was given, which is the only one that Istio knows.
    pub(super) fn first(&self) -> Option<&Name> {
        self.domains.first().filter(|_| self.leads)
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }
}
