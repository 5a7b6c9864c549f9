//! What programs of glibc ask before DNS: the order in `/etc/nsswitch.conf`, and `/etc/hosts`.

use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use super::text;

/// The order in which programs of glibc look for hosts.
#[derive(Debug)]
pub(super) struct Order {
    /// The line, without its comment.
    pub(super) line: String,
    services: Vec<Service>,
}

#[derive(Debug)]
struct Service {
    name: String,
    /// Who is not found here is not looked for further on.
    final_word: bool,
}

impl Order {
    pub(super) fn read(root: &Path) -> Self {
        let file = text(&root.join("etc/nsswitch.conf")).unwrap_or_default();
        let line = file.lines().find_map(|line| {
            let line = line.split('#').next().unwrap_or_default().trim();
            line.strip_prefix("hosts:").map(|_| line.to_owned())
        });
        Self::parse(line.unwrap_or_default())
    }

    fn parse(line: String) -> Self {
        let mut services: Vec<Service> = Vec::new();
        let words = line.strip_prefix("hosts:").unwrap_or_default().replace('[', " [");
        let mut action = String::new();
        for word in words.split_ascii_whitespace() {
            if word.starts_with('[') || !action.is_empty() {
                action.push_str(word);
                action.push(' ');
                if word.ends_with(']') {
                    if let Some(last) = services.last_mut() {
                        last.final_word = ends_search(&action);
                    }
                    action.clear();
                }
            } else {
                services.push(Service { name: word.to_owned(), final_word: false });
            }
        }
        Self { line, services }
    }

    fn place(&self, is: impl Fn(&str) -> bool) -> Option<usize> {
        self.services.iter().position(|service| is(&service.name))
    }

    /// Whether DNS is asked at all, by whomever.
    fn asks_dns(&self) -> bool {
        self.place(|name| name == "dns" || name == "resolve").is_some()
    }

    /// Whether systemd-resolved is asked without a packet, before DNS.
    pub(super) fn asks_resolved_first(&self) -> bool {
        let dns = self.place(|name| name == "dns").unwrap_or(usize::MAX);
        self.place(|name| name == "resolve").is_some_and(|resolve| resolve < dns)
    }

    /// Whether mDNS has the last word on `.local`, before DNS.
    pub(super) fn asks_mdns_finally(&self) -> bool {
        let dns = self.place(|name| name == "dns").unwrap_or(usize::MAX);
        let before = self.services.iter().take(dns);
        before.into_iter().any(|service| service.name.starts_with("mdns") && service.final_word)
    }

    /// Whether `/etc/hosts` comes after DNS.
    pub(super) fn asks_dns_before_files(&self) -> bool {
        let files = self.place(|name| name == "files");
        let dns = self.place(|name| name == "dns" || name == "resolve");
        matches!((files, dns), (Some(files), Some(dns)) if dns < files)
    }
}

/// The line of `/etc/nsswitch.conf` about hosts, and whether DNS is asked by it; none if there is no
/// such line, and glibc does as it likes, which is to ask it.
pub fn hosts_line(root: &Path) -> Option<(String, bool)> {
    let order = Order::read(root);
    (!order.line.is_empty()).then(|| (order.line.clone(), order.asks_dns()))
}

/// Whether `[NOTFOUND=return]` is said, or `[!UNAVAIL=return]`, which says it of all but one.
fn ends_search(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let said = action.trim_matches(|symbol: char| symbol == '[' || symbol == ']' || symbol == ' ');
    said.split_ascii_whitespace().any(|one| {
        one == "notfound=return"
            || one
                .strip_suffix("=return")
                .and_then(|status| status.strip_prefix('!'))
                .is_some_and(|status| status != "notfound")
    })
}

/// A line of `/etc/hosts` that answers a name before DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shadow {
    /// What it answers.
    pub address: IpAddr,
    /// Which line it is, from 1.
    pub line: usize,
}

/// The lines of `/etc/hosts` that answer a name.
pub fn shadows(root: &Path, name: &str) -> Vec<Shadow> {
    let name = name.trim_end_matches('.');
    let hosts = text(&root.join("etc/hosts")).unwrap_or_default();
    let shadow = |(index, line): (usize, &str)| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        let answers = words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name));
        answers.then_some(Shadow { address, line: index + 1 })
    };
    hosts.lines().enumerate().filter_map(shadow).collect()
}
