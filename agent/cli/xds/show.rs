//! `hawser xds show`: what is kept of the configuration that Envoy took, with or without an agent.

use clap::Args;
use hawser_lastgood::look::{self, Node, Resource, Type, Version};
use hawser_rt::Chain;
use serde_json::{Value, json};

use super::{
    super::{
        Context, Exit, complain, say,
        span::{now, span},
    },
    changes,
};

/// Show what Envoy took last, and the versions before
///
/// Without TYPE: every type and its versions. With TYPE (cds, lds, rds, eds, ecds, or a part of
/// its name): the resources of its newest version. Needs root, or the agent's user; no agent.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The type
    #[arg(value_name = "TYPE")]
    of: Option<String>,
    /// The resources of this version instead of the newest
    #[arg(long, value_name = "N", requires = "of")]
    version: Option<u64>,
    /// What differs from the version before
    #[arg(long, requires = "of")]
    diff: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Why nothing can be shown.
type Reason = String;

impl Show {
    pub(super) fn run(&self, context: &Context) -> Exit {
        let directory = context.paths.last_good();
        let nodes = match look::nodes(&directory) {
            Ok(nodes) => nodes,
            Err(error) => {
                complain(format_args!("hawser: {}", Chain(&error)));
                complain("hawser: ask as root; nothing is there before Envoy has taken something");
                return Exit::Failed;
            }
        };
        let told = match &self.of {
            None => Ok(self.nodes(&nodes)),
            Some(of) => self.one(&nodes, of),
        };
        match told {
            Ok(text) => {
                say(text.trim_end());
                Exit::Ok
            }
            Err(reason) => {
                complain(format_args!("hawser: {reason}"));
                Exit::Failed
            }
        }
    }

    fn nodes(&self, nodes: &[Node]) -> String {
        if self.json {
            return Value::from_iter(nodes.iter().rev().map(node_json)).to_string();
        }
        let mut text = String::new();
        // The newest first: it is this machine's present one.
        for node in nodes.iter().rev() {
            text.push_str(&format!("{}\n", node.key));
            for of in &node.types {
                text.push_str(&format!("  {}\n", short(&of.type_url)));
                told(of).iter().rev().for_each(|version| text.push_str(&line(version)));
            }
        }
        text
    }

    fn one(&self, nodes: &[Node], wanted: &str) -> Result<String, Reason> {
        let of = find(nodes, wanted)?;
        let versions = told(of);
        let newest = versions.last().map_or(0, |version| version.number);
        let number = self.version.unwrap_or(newest);
        let Some(place) = versions.iter().position(|version| version.number == number) else {
            let known: Vec<_> = versions.iter().map(|it| it.number.to_string()).collect();
            return Err(format!("version {number} is not kept; there are {}", known.join(", ")));
        };
        let resources = resources(of, number)?;
        if !self.diff {
            return Ok(if self.json { as_json(&resources) } else { listed(&resources) });
        }
        let before = place.checked_sub(1).and_then(|place| versions.get(place));
        let Some(before) = before else {
            return Err(format!("nothing is kept from before version {number}"));
        };
        let changes = changes::between(&self::resources(of, before.number)?, &resources);
        Ok(if self.json { changes.json().to_string() } else { changes.text() })
    }
}

/// The type that is meant, of the node that was there last.
fn find<'a>(nodes: &'a [Node], wanted: &str) -> Result<&'a Type, Reason> {
    let node = nodes.last().ok_or("nothing is kept yet")?;
    let wanted = wanted.to_ascii_lowercase();
    let known = ALIASES.iter().find(|(alias, _)| *alias == wanted);
    let part = known.map_or(wanted.as_str(), |(_, name)| name);
    let name = |of: &Type| short(&of.type_url).to_ascii_lowercase();
    if let Some(exactly) = node.types.iter().find(|of| name(of) == part) {
        return Ok(exactly);
    }
    let mut found = node.types.iter().filter(|of| name(of).contains(part));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(format!("{wanted} means more than one type")),
        (None, _) => {
            let known: Vec<&str> = node.types.iter().map(|of| short(&of.type_url)).collect();
            Err(format!("nothing of {wanted} is kept; there are {}", known.join(", ")))
        }
    }
}

/// The versions in which something has changed: istiod says the same again with each stream.
fn told(of: &Type) -> Vec<&Version> {
    let changes = |it: &&Version| it.added + it.changed + it.removed > 0;
    let versions: Vec<&Version> = of.versions.iter().filter(changes).collect();
    if versions.is_empty() { of.versions.last().into_iter().collect() } else { versions }
}

fn resources(of: &Type, number: u64) -> Result<Vec<Resource>, Reason> {
    of.resources(number).map_err(|error| Chain(&error).to_string())
}

fn line(version: &Version) -> String {
    let Version { number, version: called, resources, added, changed, removed, .. } = version;
    let ago = span((now() - seconds(version)).max(0));
    format!(
        "    {number:<6} {resources} resources, +{added} ~{changed} -{removed}, {ago} ago, {called}\n"
    )
}

fn listed(resources: &[Resource]) -> String {
    let lines = resources.iter().map(|it| format!("{:>9} B  {}\n", it.length, it.name));
    lines.collect()
}

fn as_json(resources: &[Resource]) -> String {
    let one = |it: &Resource| json!({"name": it.name, "version": it.version, "bytes": it.length});
    Value::from_iter(resources.iter().map(one)).to_string()
}

fn node_json(node: &Node) -> Value {
    let version = |it: &Version| {
        json!({
            "number": it.number, "version": it.version, "at": seconds(it),
            "resources": it.resources, "added": it.added, "changed": it.changed,
            "removed": it.removed,
        })
    };
    let of = |it: &Type| {
        let versions = Value::from_iter(told(it).into_iter().map(version));
        json!({"type": it.type_url, "versions": versions})
    };
    json!({"node": node.key, "types": Value::from_iter(node.types.iter().map(of))})
}

fn seconds(version: &Version) -> i64 {
    let since = version.at.duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs().cast_signed()
}

/// The last part of a type URL, which is the part that people say.
fn short(type_url: &str) -> &str {
    type_url.rsplit('.').next().unwrap_or(type_url)
}

/// What Istio's people call them.
const ALIASES: [(&str, &str); 6] = [
    ("cds", "cluster"),
    ("lds", "listener"),
    ("rds", "routeconfiguration"),
    ("eds", "clusterloadassignment"),
    ("ecds", "typedextensionconfig"),
    ("clusters", "cluster"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_goes_by_the_last_part_of_its_name() {
        assert_eq!(short("type.googleapis.com/envoy.config.cluster.v3.Cluster"), "Cluster");
        assert_eq!(find(&[], "cds").unwrap_err(), "nothing is kept yet");
    }
}
