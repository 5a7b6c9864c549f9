//! Which roots istiod is believed by: what the operator says, else the bundle's, else what a
//! machine that ran Istio's own agent has in its places.

use std::path::PathBuf;

use hawser_istiod::Roots;

use super::{
    Reader, parse,
    paths::{self, Paths},
    problem::Problem,
};

/// Where the roots are, and whether more of them may be learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// Where they are read from.
    pub roots: Roots,
    /// Whether those that came with certificates count too, so that a rotation needs nobody. Not
    /// where the operator has named the roots: then these are meant and no others.
    pub learned: bool,
}

impl Reader<'_> {
    pub(super) fn roots(&mut self, key: &str, paths: &Paths) -> Option<Believed> {
        let said = self.optional(key, |text| match text {
            "SYSTEM" => Some(Roots::System),
            path => parse::file(path).map(Roots::File),
        });
        let provider = self.required("istiod.cert_provider", |text| {
            let known = ["istiod", "custom", "kubernetes", "none"].contains(&text);
            (known || text.starts_with("k8s.io/")).then(|| text.to_owned())
        });
        let provisioned = self.provisioned(paths);
        if let Some(roots) = said? {
            return Some(Believed { roots, learned: false });
        }
        if provider? == "none" {
            let problem = format!("has to be said, because {PROVIDER} is none");
            self.problems.push(Problem::with(key, problem));
            return None;
        }
        let provisioned = provisioned?.map(|dir| dir.join(paths::ROOT_CERT));
        Some(Believed { roots: Roots::File(usual(paths, provisioned)), learned: true })
    }
}

/// The first that is there; where none is, the one that `join` would have brought.
fn usual(paths: &Paths, provisioned: Option<PathBuf>) -> PathBuf {
    let bundled = paths.bundle_file(paths::ROOT_CERT);
    let candidates = [Some(bundled.clone()), provisioned, Some(paths.at(ISTIO_ROOT))];
    candidates.into_iter().flatten().find(|path| path.exists()).unwrap_or(bundled)
}

const ISTIO_ROOT: &str = "var/run/secrets/istio/root-cert.pem";
const PROVIDER: &str = "istiod.cert_provider";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_bundle_comes_before_istios_places() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::under(root.path());
        let put = |path: &PathBuf| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            hawser_state::write_file(path, 0o644, b"").unwrap();
        };
        let legacy = paths.at("etc/certs/root-cert.pem");
        assert_eq!(usual(&paths, None), legacy);
        let istio = paths.at(ISTIO_ROOT);
        put(&istio);
        assert_eq!(usual(&paths, None), istio);
        let provisioned = paths.at("srv/certs/root-cert.pem");
        put(&provisioned);
        assert_eq!(usual(&paths, Some(provisioned.clone())), provisioned);
        put(&legacy);
        assert_eq!(usual(&paths, Some(provisioned)), legacy);
        let joined = paths.bundle().join("root-cert.pem");
        put(&joined);
        assert_eq!(usual(&paths, None), joined);
    }
}
