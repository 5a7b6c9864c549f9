//! What Istio's own scripts have left on a machine: shown, then removed, and nothing else with it.
//!
//! It is found by looking, not by the settings that were there when it was made: tables by their
//! names, chains by how theirs begin and what jumps there, routing by its mark and table.

mod chains;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::apply::Places;
use crate::nft::Nft;
use crate::plan::PASSTHROUGH_V6;
use crate::program;
use crate::routes::{Routing, Strangers};
use chains::Chains;

/// Tables of family `inet` of Istio's agent, where it speaks to nftables.
const TABLES: [&str; 3] = ["istio-proxy-nat", "istio-proxy-mangle", "istio-proxy-raw"];
/// Where it speaks to iptables: whose rules they are depends on the program that made them.
const VARIANTS: [&str; 4] =
    ["iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft"];
/// Where there is only one kind.
const PLAIN: [&str; 2] = ["iptables", "ip6tables"];
/// Its mark and table for TPROXY.
const MARK: u32 = 1337;
const TABLE: u32 = 133;
const LIMIT: Duration = Duration::from_secs(60);

/// What is there.
#[derive(Debug)]
pub struct Leftovers {
    nft: Option<Nft>,
    tables: Vec<&'static str>,
    chains: Vec<Family>,
    strangers: Strangers,
    address: bool,
}

/// What one program of iptables sees.
#[derive(Debug)]
struct Family {
    restore: PathBuf,
    name: &'static str,
    chains: Chains,
}

impl Leftovers {
    /// Looks for them; programs are below `root`.
    pub async fn look(root: &Path, places: &Places) -> Result<Self, Error> {
        // Without it, nobody has made such tables.
        let nft = Nft::find(root).ok();
        let mut tables = Vec::new();
        if let Some(nft) = &nft {
            for table in TABLES {
                if nft.table_named(table).await?.is_some() {
                    tables.push(table);
                }
            }
        }
        let mut routing = Routing::open()?;
        let strangers = routing.strangers(MARK, TABLE)?;
        let address =
            routing.has_address(&PASSTHROUGH_V6)? && !places.has_added(&PASSTHROUGH_V6)?;
        Ok(Self { nft, tables, chains: families(root).await?, strangers, address })
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// Each in a line.
    pub fn lines(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|table| format!("nft table inet {table}"));
        let chains = self.chains.iter().flat_map(|family| {
            family.chains.lines().map(move |line| format!("{} {line}", family.name))
        });
        let address = self.address.then(|| format!("address {PASSTHROUGH_V6} of lo"));
        tables.chain(chains).chain(self.strangers.lines()).chain(address).collect()
    }

    /// Removes them. What cannot be removed does not keep the rest.
    pub async fn remove(&self) -> Result<(), Error> {
        let mut all = Ok(());
        if let Some(nft) = &self.nft {
            for table in &self.tables {
                all = all.and(nft.remove(table).await);
            }
        }
        for family in &self.chains {
            all = all.and(family.remove().await);
        }
        let mut routing = Routing::open()?;
        all = all.and(routing.dismiss(&self.strangers));
        if self.address {
            all = all.and(routing.remove_address(&PASSTHROUGH_V6));
        }
        all
    }
}

impl Family {
    /// One transaction for each table, without a touch on what else is in it.
    async fn remove(&self) -> Result<(), Error> {
        let what = "remove the chains of Istio's agent";
        let commands = self.chains.commands();
        let ran = program::run(&self.restore, &["--noflush"], &commands, LIMIT).await;
        let program = || self.restore.clone();
        let ran = ran.map_err(|source| Error::Run { program: program(), what, source })?;
        if ran.status.success() {
            return Ok(());
        }
        Err(Error::Refused { program: program(), what, complaint: ran.complaint() })
    }
}

async fn families(root: &Path) -> Result<Vec<Family>, Error> {
    let find = |name: &'static str| {
        let save = program::find(root, &format!("{name}-save"))?;
        let restore = program::find(root, &format!("{name}-restore"))?;
        Some((name, save, restore))
    };
    let mut programs: Vec<_> = VARIANTS.into_iter().filter_map(find).collect();
    if programs.is_empty() {
        programs = PLAIN.into_iter().filter_map(find).collect();
    }
    let mut families = Vec::new();
    for (name, save, restore) in programs {
        let what = "show its rules";
        let ran = program::run(&save, &[], "", LIMIT).await;
        let ran = ran.map_err(|source| Error::Run { program: save.clone(), what, source })?;
        // A kernel without this kind has none of its rules.
        if !ran.status.success() {
            tracing::debug!(program = name, error = ran.complaint(), "rules cannot be shown");
            continue;
        }
        let chains = Chains::read(&ran.output);
        if !chains.is_empty() {
            families.push(Family { restore, name, chains });
        }
    }
    Ok(families)
}
