//! What `hawser status` shows of DNS.

use crate::{
    cli::dns::explain::resolver,
    status::dns::{CacheStatus, DnsStatus},
};

/// Its rows.
pub(super) fn rows(dns: &DnsStatus, row: &mut impl FnMut(&str, String)) {
    row("dns", dns.to_string());
    let CacheStatus { entries, bytes, .. } = dns.cache;
    if entries > 0 {
        row("", format!("cache of {entries} answers, {} KiB", bytes.div_ceil(1024)));
    }
    for one in dns.resolvers.iter().take(MOST) {
        row("", format!("resolver {}", resolver(one)));
    }
    if dns.resolvers.is_empty() {
        row(
            "",
            "no resolver: names outside the mesh are not resolved; see dns.upstreams".to_owned(),
        );
    }
    for neighbour in dns.neighbours.iter().take(MOST) {
        row("", format!("{}: {}", neighbour.who, neighbour.meaning));
    }
}

const MOST: usize = 4;
