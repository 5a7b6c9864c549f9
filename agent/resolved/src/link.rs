//! The network interface that stands for the mesh at systemd-resolved. Nothing passes it.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{debug, info};

use crate::tools::Tools;
use crate::{Error, Wanted};

/// Its name.
pub(crate) const NAME: &str = "hawser0";
/// How we know that it is ours.
const ALIAS: &str = "names of the mesh for systemd-resolved, kept by hawser";
/// systemd-resolved asks over no link without an address that is valid beyond the link. This one is
/// of the block that no machine gives itself (RFC 3927, 2.1), so there is nobody whose place it
/// takes; and as `169.254/16` it is not taken for an address of the machine.
const ADDRESS: &str = "169.254.0.53/32";
/// Kinds of interfaces that carry nothing and are up all the same, the best one first: kernels made
/// for virtual machines may lack the one, a bridge with nobody on it does as well.
const KINDS: [&str; 2] = ["dummy", "bridge"];

/// The interface, by those who can make it.
#[derive(Debug)]
pub(crate) struct Link {
    tools: Tools,
    root: PathBuf,
}

impl Link {
    pub(crate) fn new(tools: Tools, root: &Path) -> Self {
        Self { tools, root: root.to_owned() }
    }

    fn place(&self) -> PathBuf {
        self.root.join("sys/class/net").join(NAME)
    }

    fn is_there(&self) -> bool {
        self.place().exists()
    }

    fn alias(&self) -> Option<String> {
        let alias = fs::read_to_string(self.place().join("ifalias")).ok()?;
        Some(alias.trim().to_owned())
    }

    /// Whether it says so, or says nothing and has no address: who made it was killed before it
    /// could say more.
    async fn is_ours(&self) -> bool {
        match self.alias().as_deref() {
            Some(ALIAS) => true,
            Some("") => {
                let addresses = self.tools.ip(&["-o", "address", "show", "dev", NAME]).await;
                addresses.is_ok_and(|addresses| addresses.trim().is_empty())
            }
            Some(_) | None => false,
        }
    }

    /// Makes it, unless it is there.
    pub(crate) async fn make(&self) -> Result<(), Error> {
        let fail = |source| Error::Link { name: NAME, source };
        if self.is_there() {
            if !self.is_ours().await {
                return Err(Error::Foreign { name: NAME });
            }
            // To give it what it has is news to everybody who watches addresses, us included.
            let show = ["-o", "address", "show", "dev", NAME, "up"];
            if self.tools.ip(&show).await.map_err(fail)?.contains(ADDRESS) {
                return Ok(());
            }
        } else {
            let mut made = Err(None);
            for kind in KINDS {
                let add = ["link", "add", "name", NAME, "type", kind];
                made = self.tools.ip(&add).await.map(drop).map_err(Some);
                if made.is_ok() {
                    debug!(kind, "network interface made");
                    break;
                }
            }
            if let Err(Some(source)) = made {
                return Err(fail(source));
            }
        }
        if self.alias().as_deref() != Some(ALIAS) {
            self.tools.ip(&["link", "set", "dev", NAME, "alias", ALIAS]).await.map_err(fail)?;
        }
        let address = ["address", "replace", ADDRESS, "dev", NAME, "scope", "global"];
        self.tools.ip(&address).await.map_err(fail)?;
        self.tools.ip(&["link", "set", "dev", NAME, "up"]).await.map_err(fail)?;
        Ok(())
    }

    /// Tells systemd-resolved what to ask over it. It is no way for anything before it has a
    /// server, so the server comes last.
    pub(crate) async fn tell(&self, wanted: &Wanted) -> Result<(), Error> {
        let switches: [(&'static str, &'static str); 5] = [
            ("default-route", "no"),
            ("llmnr", "no"),
            ("mdns", "no"),
            // The mesh signs nothing, and its names are not in the DNS that does.
            ("dnssec", "no"),
            ("dnsovertls", "no"),
        ];
        for (what, value) in switches {
            self.resolvectl(what, &[value]).await?;
        }
        let domains: Vec<_> = wanted.domains.iter().map(|domain| format!("~{domain}")).collect();
        let domains: Vec<_> = domains.iter().map(String::as_str).collect();
        // An empty word clears the list.
        self.resolvectl("domain", if domains.is_empty() { &[""] } else { &domains }).await?;
        self.resolvectl("dns", &[&wanted.server.to_string()]).await?;
        info!(domains = wanted.domains.len(), server = %wanted.server,
            "systemd-resolved asks hawser for names of the mesh");
        Ok(())
    }

    /// Whether systemd-resolved has been told so and remembers.
    pub(crate) async fn is_told(&self, wanted: &Wanted) -> Result<bool, Error> {
        let domains = self.resolvectl("domain", &[]).await?;
        let servers = self.resolvectl("dns", &[]).await?;
        Ok(is_told(wanted, &domains, &servers))
    }

    async fn resolvectl(&self, what: &'static str, values: &[&str]) -> Result<String, Error> {
        let mut arguments = vec![what, NAME];
        arguments.extend(values);
        self.tools.resolvectl(&arguments).await.map_err(|source| Error::Tell { what, source })
    }

    /// Removes it, and with it all that systemd-resolved was told of it.
    pub(crate) async fn remove(&self) -> Result<(), Error> {
        if !self.is_there() || !self.is_ours().await {
            return Ok(());
        }
        let removed = self.tools.ip(&["link", "delete", "dev", NAME]).await;
        // It may have gone meanwhile.
        match removed {
            Err(source) if self.is_there() => Err(Error::Remove { name: NAME, source }),
            Ok(_) | Err(_) => {
                info!("systemd-resolved does not ask hawser any more");
                Ok(())
            }
        }
    }
}

/// `Link 5 (hawser0): ~a ~b`, which may go on in lines of its own.
fn is_told(wanted: &Wanted, domains: &str, servers: &str) -> bool {
    let words = |said: &str| {
        let said = said.split_once("):").map_or(said, |(_, said)| said);
        let mut words: Vec<_> = said.split_ascii_whitespace().map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    let mut expected: Vec<_> = wanted.domains.iter().map(|domain| format!("~{domain}")).collect();
    expected.sort_unstable();
    words(domains) == expected && words(servers) == [wanted.server.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resolvectl_prints_is_compared() {
        let domains = vec!["a.example".to_owned(), "svc.cluster.local".to_owned()];
        let wanted = Wanted::new("127.0.0.1:15053".parse().unwrap(), domains);
        let dns = "Link 5 (hawser0): 127.0.0.1:15053\n";
        let cases = [
            ("Link 5 (hawser0): ~svc.cluster.local ~a.example\n", dns, true),
            ("Link 5 (hawser0): ~svc.cluster.local\n                  ~a.example\n", dns, true),
            ("Link 5 (hawser0): ~svc.cluster.local\n", dns, false),
            ("Link 5 (hawser0): svc.cluster.local ~a.example\n", dns, false),
            ("Link 5 (hawser0):\n", dns, false),
            ("Link 5 (hawser0): ~svc.cluster.local ~a.example\n", "Link 5 (hawser0):\n", false),
            (
                "Link 5 (hawser0): ~svc.cluster.local ~a.example\n",
                "Link 5 (hawser0): 127.0.0.1\n",
                false,
            ),
        ];
        for (domains, servers, told) in cases {
            assert_eq!(is_told(&wanted, domains, servers), told, "{domains}{servers}");
        }
    }
}
