//! The file of services: where it is, and what it is to the mesh.

use std::path::{Path, PathBuf};

use hawser_intercept::plan::Taken;

use super::{
    Reader,
    dns::{Dns, Mode},
    intercept::Intercept,
    paths::{self, Paths},
    problem::Problem,
    relay::Relay,
    setting,
    source::{Sources, read_text},
    values::{Source, Values},
};

/// What is called without istiod having told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// A file, or a directory of them.
    pub file: PathBuf,
    /// Whether there is a mesh besides.
    pub beside: bool,
    /// Who is believed about a name that both have.
    pub wins: Wins,
    /// What is added to ports below 1024.
    pub low_ports: u16,
}

/// Who is believed about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wins {
    /// The file.
    File,
    /// istiod.
    Mesh,
}

impl Wins {
    /// As it is said in the settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Mesh => "mesh",
        }
    }
}

impl Reader<'_> {
    /// None where there is nothing but the mesh.
    pub(super) fn services(
        &mut self,
        paths: &Paths,
        sources: &Sources,
    ) -> Option<Option<Services>> {
        let file = self.place("services.file", paths, None);
        let wanted = self.required("services.use", |text| match text {
            "auto" | "off" | "alone" | "beside" => Some(text.to_owned()),
            _ => None,
        });
        let wins = self.required("services.wins", |text| match text {
            "file" => Some(Wins::File),
            "mesh" => Some(Wins::Mesh),
            _ => None,
        });
        let low_ports = self.required("services.low_ports", |text| {
            text.parse().ok().filter(|added: &u16| *added <= u16::MAX - 1024)
        });
        let file = file?.unwrap_or_else(|| paths.services());
        let beside = match wanted?.as_str() {
            "off" => return Some(None),
            "alone" => false,
            "beside" => true,
            _ if !file.exists() => return Some(None),
            _ => sources.joined && has_bundle(paths),
        };
        Some(Some(Services { file, beside, wins: wins?, low_ports: low_ports? }))
    }

    /// A whole state is that of one: only differences can be told by two.
    pub(super) fn told_beside(
        &mut self,
        services: Option<&Option<Services>>,
        relay: Option<&Relay>,
    ) {
        if let (Some(Some(Services { beside: true, .. })), Some(Relay { delta: false, .. })) =
            (services, relay)
        {
            let expected = "services of a file are told beside istiod's as differences alone: \
                            set xds.delta = true, or services.use = \"off\"";
            self.problems.push(Problem::with("xds.delta", expected));
        }
    }

    /// What is another where there is no mesh: names lead to Envoy by themselves, so nothing has to be
    /// redirected to it, and systemd-resolved sends its questions where it runs.
    pub(super) fn without_mesh(
        &self,
        paths: &Paths,
        dns: &mut Option<Option<Dns>>,
        intercept: &mut Option<Intercept>,
    ) {
        let said = |key| self.values.source_of(key) != Some(Source::Default);
        // Where questions are to be redirected, they are asked here.
        let redirected =
            said("intercept.enabled") && intercept.as_ref().is_some_and(|it| it.enabled);
        if let Some(Some(dns)) = dns
            && !said("dns.mode")
            && !redirected
            && paths.is_system()
            && is_asked()
        {
            dns.mode = Mode::Resolved;
        }
        if let Some(intercept) = intercept {
            // Rules that are asked for are for questions alone.
            intercept.enabled &= said("intercept.enabled");
            intercept.inbound.ports = Taken::Only(Vec::new());
            intercept.outbound.networks = Taken::Only(Vec::new());
            intercept.outbound.ports.clear();
        }
    }
}

/// Whether there is more of a bundle than roots: those come with certificates from elsewhere too.
fn has_bundle(paths: &Paths) -> bool {
    let mut files = paths::BUNDLE.iter().filter(|(name, _)| *name != paths::ROOT_CERT);
    files.any(|(name, _)| paths.bundle_file(name).exists())
}

/// Whether programs ask systemd-resolved: it may run, and they go past it.
fn is_asked() -> bool {
    let listed = read_text(Path::new("/etc/resolv.conf")).unwrap_or_default();
    let mut lines = listed.lines().map(|line| line.split_whitespace());
    lines.any(|mut words| words.next() == Some("nameserver") && words.next() == Some(RESOLVED))
}

/// Where it answers.
const RESOLVED: &str = "127.0.0.53";

/// Whether a machine has something to do that has not joined a mesh.
pub fn suffice(paths: &Paths, values: &Values) -> bool {
    let said = |key| setting::find(key).map(|known| values.setting(known).value);
    match said("services.use").as_deref().map(str::trim) {
        Some("alone" | "beside") => true,
        Some("auto") => match said("services.file").as_deref().map(str::trim) {
            None | Some("") => paths.services().exists(),
            Some("none") => false,
            Some(file) => Path::new(file).exists(),
        },
        _ => false,
    }
}
