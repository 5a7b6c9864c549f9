//! Workload groups and the entries that istiod keeps for the machines of a group.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tonic::Status;

use super::node::NodeFacts;

/// Groups and entries, by `namespace/name`.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Groups that machines may register with, and the service account each is for ("" is any).
    pub groups: BTreeMap<String, String>,
    /// What has been registered and not been cleaned up.
    pub entries: BTreeMap<String, WorkloadEntry>,
}

/// A machine as istiod knows it.
#[derive(Debug, Clone)]
pub struct WorkloadEntry {
    /// The group it was registered from, as `namespace/name`; empty if somebody else made it.
    pub group: String,
    /// First address of the node.
    pub address: String,
    /// Labels of the node's metadata.
    pub labels: BTreeMap<String, String>,
    /// Network of the node.
    pub network: String,
    /// `region/zone/subzone` of the node.
    pub locality: String,
    /// Whether istiod waits for health reports before it sends traffic.
    pub health_checked: bool,
    /// The last report: `Ok` is healthy; none before the first.
    pub health: Option<Result<(), String>>,
    /// Streams that belong to this entry.
    pub streams: Vec<u64>,
    /// The last of all that came.
    pub newest: u64,
    /// When it connected last; none while it is away.
    pub connected: Option<Instant>,
    /// When the last stream went; none while it is here.
    pub disconnected: Option<Instant>,
}

impl Registry {
    /// A stream of this node has come up; answers the entry it belongs to, if it is to have one.
    pub(super) fn connect(
        &mut self,
        stream: u64,
        node: &NodeFacts,
        identities: &[String],
    ) -> Result<Option<String>, Status> {
        if node.group.is_empty() {
            return self.named(stream, node);
        }
        let key = format!("{}/{}", node.namespace, node.entry_name());
        if !self.entries.contains_key(&key) {
            let group = format!("{}/{}", node.namespace, node.group);
            let Some(account) = self.groups.get(&group) else {
                return Err(Status::failed_precondition(format!(
                    "auto-registration WorkloadEntry of {} failed: cannot find WorkloadGroup {group}",
                    node.name
                )));
            };
            may_register(node, account, identities)?;
            self.entries.insert(key.clone(), WorkloadEntry::new(node));
        }
        self.arrive(&key, stream);
        Ok(Some(key))
    }

    /// A node may also name an entry that somebody has made for it.
    fn named(&mut self, stream: u64, node: &NodeFacts) -> Result<Option<String>, Status> {
        if node.entry.is_empty() {
            return Ok(None);
        }
        let key = format!("{}/{}", node.namespace, node.entry);
        if !self.entries.contains_key(&key) {
            return Err(Status::unknown(format!(
                "proxy metadata indicates that it must correspond to an existing WorkloadEntry, \
                 however WorkloadEntry {key} is not found"
            )));
        }
        self.arrive(&key, stream);
        Ok(Some(key))
    }

    fn arrive(&mut self, key: &str, stream: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.streams.push(stream);
            entry.newest = stream;
            entry.connected = Some(Instant::now());
            entry.disconnected = None;
        }
    }

    /// A stream has gone; answers when, if it was the entry's last. The real one forgets to look
    /// when the last to go is not the newest that came, and keeps such an entry for ever.
    pub(super) fn disconnect(&mut self, key: &str, stream: u64) -> Option<Instant> {
        let entry = self.entries.get_mut(key)?;
        entry.streams.retain(|one| *one != stream);
        if entry.streams.is_empty() && entry.newest == stream {
            entry.connected = None;
            entry.disconnected = Some(Instant::now());
        }
        entry.disconnected
    }

    /// Addresses of a group's machines that are to get traffic: those whose health is not asked
    /// for, and those that have said that they are well. Being away does not count in the grace.
    #[must_use]
    pub fn serving(&self, group: &str) -> Vec<String> {
        let well = |entry: &&WorkloadEntry| {
            entry.group == group && (!entry.health_checked || entry.health == Some(Ok(())))
        };
        self.entries.values().filter(well).map(|entry| entry.address.clone()).collect()
    }

    /// The grace is over: who went at `since` and has not come back loses the entry.
    pub(super) fn clean_up(&mut self, key: &str, since: Instant) {
        if self.entries.get(key).is_some_and(|entry| entry.disconnected == Some(since)) {
            self.entries.remove(key);
        }
    }

    /// A report, which an entry keeps whether it is health checked or not.
    pub(super) fn report(&mut self, key: &str, problem: Option<&str>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.health = Some(problem.map_or(Ok(()), |text| Err(text.to_owned())));
        }
    }
}

impl WorkloadEntry {
    fn new(node: &NodeFacts) -> Self {
        Self {
            group: format!("{}/{}", node.namespace, node.group),
            address: node.address.clone(),
            labels: node.labels.clone(),
            network: node.network.clone(),
            locality: node.locality.clone(),
            health_checked: node.health_checked,
            health: None,
            streams: Vec::new(),
            newest: 0,
            connected: None,
            disconnected: None,
        }
    }
}

/// A plain error in istiod, which gRPC turns into code Unknown.
fn may_register(node: &NodeFacts, account: &str, identities: &[String]) -> Result<(), Status> {
    let Some((namespace, own)) = identities.iter().find_map(|id| super::node::account(id)) else {
        return Err(Status::unknown("registration of WorkloadEntry requires a verified identity"));
    };
    let refuse = |what, own: &str, wanted: &str| {
        let text = format!("registration of WorkloadEntry {what} mismatch: {own:?} vs {wanted:?}");
        Err(Status::unknown(text))
    };
    if namespace != node.namespace {
        return refuse("namespace", namespace, &node.namespace);
    }
    if !account.is_empty() && own != account {
        return refuse("service account", own, account);
    }
    Ok(())
}
