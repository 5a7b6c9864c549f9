//! Reads the layers: files of the bundle, our own file, the process environment, flags.
//!
//! The only file that looks at the environment. What it cannot read becomes a problem in
//! [`Values`], beside everything else that is wrong.

mod launcher;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use hawser_istiod::Hosts;
use hawser_pki::Chain;
use serde_json::{Map, Value};

use super::{
    downward, envfile, hosts,
    paths::{self, Paths},
    problem::Problem,
    proxy::{self, ProxyConfig},
    setting::{self, OWN_PREFIX},
    values::{Source, Values},
};

/// The process environment, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Of this process; what is not UTF-8 is nothing that we or Istio ever set.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// One variable, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A setting said on the command line, and by which flag.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As it was typed: `--set` or `--envoy`.
    pub name: &'static str,
    /// The setting.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// All that was read.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Settings and variables.
    pub values: Values,
    /// The effective ProxyConfig.
    pub proxy: ProxyConfig,
    /// The bundle's hosts.
    pub hosts: Hosts,
    /// Labels of a pod, where a file gives them.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether there is anything of a bundle at all.
    pub joined: bool,
    /// Where systemd has put the credentials of the unit.
    pub credentials: Option<PathBuf>,
}

/// Reads every layer, the weakest first.
pub fn read(paths: &Paths, environment: &Environment, flags: &[Flag]) -> Sources {
    let mut sources = Sources {
        joined: paths::BUNDLE.iter().any(|(name, _)| paths.bundle_file(name).exists()),
        credentials: environment.get(CREDENTIALS).map(PathBuf::from),
        ..Sources::default()
    };
    sources.values.lay_certificate(&paths.bundle_file(paths::CHAIN));
    let mut files = Vec::new();
    for path in [paths.at(paths::SIDECAR_ENV), paths.bundle_file(paths::CLUSTER_ENV)] {
        let text = sources.values.optional(&path);
        files.extend(sources.values.env_file(&path, &text));
    }
    // One that is set in the environment stands in for those of files, as a variable does.
    let proxy_config = environment.get(PROXY_CONFIG);
    files.retain(|(name, ..)| proxy_config.is_none() || name != PROXY_CONFIG);
    sources.lay_mesh(paths, &files);
    for (name, value, source) in files {
        sources.values.set_variable(&name, value, source);
    }
    sources.values.lay_toml(&paths.toml());
    if let Some(yaml) = proxy_config {
        sources.lay_proxy(&format!("${PROXY_CONFIG}"), proxy::of_variable(yaml));
    }
    sources.values.lay_environment(environment);
    sources.values.lay_halves_of_address();
    for flag in flags {
        let source = Source::Flag { name: flag.name.to_owned() };
        sources.values.set(&flag.key, flag.value.clone(), source);
    }
    // A pair in another place names the machine as well, where nobody else does.
    if let Some(dir) = setting::find(FILES).map(|known| sources.values.setting(known).value)
        && dir.starts_with('/')
    {
        sources.values.lay_certificate(&Path::new(&dir).join(paths::CHAIN));
    }
    sources.read_hosts(&paths.bundle_file(paths::HOSTS));
    sources.labels = sources.values.downward(&paths.at(paths::POD_LABELS));
    sources.annotations = sources.values.downward(&paths.at(paths::POD_ANNOTATIONS));
    sources
}

/// Reads a text file that has no business being large.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

/// The name of this machine, up to the first dot.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let name = name.unwrap_or_default();
    name.split('.').next().filter(|short| !short.is_empty()).unwrap_or("localhost").to_owned()
}

/// The addresses of this machine that others could reach, in the order of its interfaces.
pub fn addresses() -> Vec<IpAddr> {
    use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in getifaddrs().into_iter().flatten() {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP);
        let Some(address) = interface.address.filter(|_| up) else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| v6.ip().to_canonical());
        found.extend(v4.or(v6).filter(|ip| reachable(*ip) && !found.contains(ip)));
    }
    found
}

fn reachable(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

type Variable = (String, String, Source);

impl Sources {
    /// The mesh file, and over it the last `PROXY_CONFIG` of a file.
    fn lay_mesh(&mut self, paths: &Paths, files: &[Variable]) {
        let path = paths.bundle_file(paths::MESH_YAML);
        let text = self.values.optional(&path);
        self.lay_proxy(&path.display().to_string(), proxy::of_mesh_file(&text));
        if let Some((_, yaml, source)) = files.iter().rev().find(|(name, ..)| name == PROXY_CONFIG)
        {
            self.lay_proxy(&source.to_string(), proxy::of_variable(yaml));
        }
    }

    fn lay_proxy(&mut self, place: &str, layer: Result<Map<String, Value>, String>) {
        let layer = match layer {
            Ok(layer) => layer,
            Err(wrong) => {
                self.values.problems.push(Problem::with(place, format!("not usable: {wrong}")));
                return;
            }
        };
        for (name, value) in proxy::metadata(&layer) {
            let field = format!("proxyMetadata.{name}");
            let source = Source::Mesh { place: place.to_owned(), field };
            self.values.set_variable(name, value, source);
        }
        for (field, key) in FIELDS {
            if let Some(value) = proxy::field(&layer, field) {
                let value =
                    if field == "statusPort" { format!("127.0.0.1:{value}") } else { value };
                let source = Source::Mesh { place: place.to_owned(), field: field.to_owned() };
                self.values.set(key, value, source);
            }
        }
        self.proxy.lay(layer);
    }

    fn read_hosts(&mut self, path: &Path) {
        match hosts::parse(&self.values.optional(path)) {
            Ok(hosts) => self.hosts = hosts.into_iter().collect(),
            Err(wrong) => self.values.problems.extend(
                wrong
                    .into_iter()
                    .map(|(line, what)| Problem::with(format!("{}:{line}", path.display()), what)),
            ),
        }
    }
}

impl Values {
    /// A file that may be absent, but not unreadable.
    fn optional(&mut self, path: &Path) -> String {
        match read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let what = format!("cannot be read: {error}");
                self.problems.push(Problem::with(path.display().to_string(), what));
                String::new()
            }
        }
    }

    /// Who the machine is as far as nobody says otherwise: the oldest files of a machine name it in
    /// its certificate alone. One that cannot be read is told of where it is shown.
    fn lay_certificate(&mut self, path: &Path) {
        let chain = read_text(path).ok().and_then(|text| Chain::from_pem(&text).ok());
        let Some(id) = chain.and_then(|chain| chain.spiffe_id().ok()) else { return };
        let named = [
            ("node.trust_domain", id.trust_domain()),
            ("node.namespace", id.namespace()),
            ("node.service_account", id.service_account()),
        ];
        for (key, value) in named {
            if let Some(Source::Default | Source::Certificate { .. }) = self.source_of(key) {
                self.set(key, value.to_owned(), Source::Certificate { path: path.to_owned() });
            }
        }
    }

    fn downward(&mut self, path: &Path) -> BTreeMap<String, String> {
        let (entries, wrong) = downward::parse(&self.optional(path));
        for line in wrong {
            let place = format!("{}:{line}", path.display());
            self.problems.push(Problem::with(place, "expected key=\"value\""));
        }
        entries
    }

    fn env_file(&mut self, path: &Path, text: &str) -> Vec<Variable> {
        let (assignments, errors) = envfile::parse(text);
        for error in errors {
            let place = format!("{}:{}", path.display(), error.line);
            self.problems.push(Problem::with(place, error.what));
        }
        let variable = |assignment: envfile::Assignment| {
            let source = Source::EnvFile {
                path: path.to_owned(),
                line: assignment.line,
                name: assignment.name.clone(),
            };
            (assignment.name, assignment.value, source)
        };
        assignments.into_iter().map(variable).collect()
    }

    fn lay_toml(&mut self, path: &Path) {
        let text = self.optional(path);
        match text.parse::<toml::Table>() {
            Ok(table) => self.lay_table(path, "", table),
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
                });
                let place = format!("{}:{line}", path.display());
                self.problems.push(Problem::with(place, error.message().to_owned()));
            }
        }
    }

    fn lay_table(&mut self, path: &Path, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            let source = Source::Toml { path: path.to_owned() };
            match value {
                toml::Value::Table(inner) => self.lay_table(path, &format!("{key}."), inner),
                toml::Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(toml_text).collect();
                    self.set(&key, items.join(","), source);
                }
                value => self.set(&key, toml_text(&value), source),
            }
        }
    }

    fn lay_environment(&mut self, environment: &Environment) {
        for (name, value) in &environment.0 {
            let source = Source::Environment { name: name.clone() };
            self.set_variable(name, value.clone(), source);
        }
        // Ours after Istio's: who uses our name means it.
        for (name, value) in &environment.0 {
            if !name.starts_with(OWN_PREFIX) || name == ROOT_VARIABLE {
                continue;
            }
            let source = Source::Environment { name: name.clone() };
            match setting::of_own_variable(name) {
                Some(known) => self.set(known.key, value.clone(), source),
                None => self.problems.push(Problem::with(
                    format!("${name}"),
                    "no such setting; `hawser config` lists them all",
                )),
            }
        }
    }
}

fn toml_text(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Fields of ProxyConfig that are settings of ours.
pub const FIELDS: [(&str, &str); 5] = [
    ("discoveryAddress", "istiod.address"),
    ("proxyAdminPort", "envoy.admin_port"),
    ("statusPort", "status.listen"),
    ("concurrency", "envoy.concurrency"),
    ("terminationDrainDuration", "envoy.drain"),
];

/// Moves every path under a directory, as `--root` does.
pub const ROOT_VARIABLE: &str = "HAWSER_ROOT";
const PROXY_CONFIG: &str = "PROXY_CONFIG";
const FILES: &str = "identity.files";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
