//! The name of an image: `REGISTRY/REPOSITORY:TAG` or `…@sha256:DIGEST`.

use std::fmt;

use crate::{Error, checksum::Checksum, url::plain};

/// An image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host and, if it is said, port.
    pub(crate) registry: String,
    pub(crate) repository: String,
    tag: Option<String>,
    pub(crate) digest: Option<Checksum>,
}

impl Reference {
    /// Reads what follows `oci://`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::Address { url: plain(&format!("oci://{text}")), problem };
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => {
                let sum = digest.strip_prefix("sha256:").and_then(|sum| sum.parse().ok());
                (named, Some(sum.ok_or_else(|| wrong("its digest is no sha256"))?))
            }
            None => (text, None),
        };
        let (named, tag) = match named.rsplit_once(':') {
            // A colon before the last slash is that of a port.
            Some((named, tag)) if !tag.contains('/') => (named, Some(tag)),
            _ => (named, None),
        };
        let (registry, repository) = match named.split_once('/') {
            Some((first, rest)) if is_host(first) => (first.to_ascii_lowercase(), rest.to_owned()),
            Some(_) => (HUB.to_owned(), named.to_owned()),
            None => (HUB.to_owned(), format!("library/{named}")),
        };
        let registry = if registry == "docker.io" { HUB.to_owned() } else { registry };
        let repository = match repository.contains('/') || registry != HUB {
            true => repository,
            false => format!("library/{repository}"),
        };
        let is_path =
            repository.split('/').all(|part| !part.is_empty() && part.bytes().all(plain_byte));
        if !is_path || repository.split('/').any(|part| part.starts_with('.')) {
            return Err(wrong("its repository is none"));
        }
        if !registry.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) {
            return Err(wrong("its registry is none"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag is none"));
        }
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest })
    }

    /// What it is called without tag and digest.
    pub fn name(&self) -> String {
        format!("oci://{}/{}", self.registry, self.repository)
    }

    /// The last part of a manifest's address.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// Whether another image may bear the same name tomorrow, and usually does.
    pub fn is_latest(&self) -> bool {
        self.digest.is_none() && self.tag.as_deref().is_none_or(|tag| tag == LATEST)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.digest.is_some() { '@' } else { ':' };
        write!(f, "{}{mark}{}", self.name(), self.version())
    }
}

/// Whether the first part of a name is a registry and not a part of a repository.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

fn is_tag(text: &str) -> bool {
    let fits = |byte: u8| plain_byte(byte) || byte.is_ascii_uppercase();
    (1..=128).contains(&text.len()) && text.bytes().all(fits)
}

fn plain_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
}

/// Where names without a registry are.
pub(crate) const HUB: &str = "index.docker.io";
const LATEST: &str = "latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let sum = "a".repeat(64);
        let digested = format!("r.example/a/b:v1@sha256:{sum}");
        let digest = format!("oci://r.example/a/b@sha256:{sum}");
        let cases = [
            ("r.example/a/b", "oci://r.example/a/b:latest", true),
            ("r.example:5000/a:v1", "oci://r.example:5000/a:v1", false),
            ("localhost/a:latest", "oci://localhost/a:latest", true),
            ("nginx", "oci://index.docker.io/library/nginx:latest", true),
            ("docker.io/nginx:1", "oci://index.docker.io/library/nginx:1", false),
            ("me/filter:V1", "oci://index.docker.io/me/filter:V1", false),
            (&digested, &digest, false),
        ];
        for (text, shown, latest) in cases {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), shown, "{text}");
            assert_eq!(reference.is_latest(), latest, "{text}");
        }
    }

    #[test]
    fn what_could_lead_out_of_the_repository_is_no_name() {
        let wrong = [
            "",
            "r.example/",
            "r.example//a",
            "r.example/../a",
            "r.example/a/../../b",
            "r.example/A",
            "r.example/a?b",
            "r.example/a:",
            "r.example/a:b/../c",
            "r.example/a:b?c",
            "r.example/a@md5:1",
            "r.example/a@sha256:12",
            "r.example/a b",
            "r.example/a%2f",
            "r .example/a",
            "{\"r\": 2/a",
            "r.example?x/a",
        ];
        for text in wrong {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
