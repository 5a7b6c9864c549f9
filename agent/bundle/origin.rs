//! Where a bundle comes from: a path, standard input, addresses, a credential of systemd.

use std::{
    fmt,
    fs::File,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Bundle, bounded, unreadable, web};
use crate::config::{
    paths::Paths,
    problem::{Problem, Problems},
    source::Environment,
};

/// Where a bundle comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A directory or a tar.
    Path(PathBuf),
    /// A tar on standard input.
    Stdin,
    /// The first of these addresses that gives one.
    Web(Vec<web::Url>),
    /// What systemd has handed to the unit, or to the machine.
    Credential(String),
}

/// A bundle that has come, and what was learned on the way.
#[derive(Debug)]
pub(crate) struct Brought {
    pub(crate) bundle: Bundle,
    /// What time it is for whom it came from.
    pub(crate) date: Option<(SystemTime, String)>,
    /// Addresses that gave none.
    pub(crate) passed_over: Vec<Problem>,
}

impl Origin {
    /// What the words of the command line mean.
    pub(crate) fn of(words: &[String], credential: Option<&str>) -> Result<Self, String> {
        if let Some(name) = credential {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            let named = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
            return match named {
                true => Ok(Self::Credential(name.to_owned())),
                false => Err(format!("{name:?} is no name of a credential")),
            };
        }
        match words {
            [] => Err("expected a bundle: a directory, a tar, -, an https address".to_owned()),
            [word] if word == "-" => Ok(Self::Stdin),
            [word] if !web::is_address(word) => Ok(Self::Path(word.into())),
            addresses => {
                let urls = addresses.iter().map(|word| web::Url::parse(word));
                Ok(Self::Web(urls.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Reads it, whole and within limits.
    pub(crate) fn bring(
        &self,
        paths: &Paths,
        environment: &Environment,
        ca: Option<&Path>,
    ) -> Result<Brought, Problems> {
        let bundle = match self {
            Self::Path(path) => Bundle::read(path)?,
            Self::Stdin => stdin()?,
            Self::Credential(name) => credential(name, paths, environment)?,
            Self::Web(urls) => return web::first(urls, ca),
        };
        Ok(Brought { bundle, date: None, passed_over: Vec::new() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str(STDIN),
            Self::Web(urls) => {
                let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
                f.write_str(&urls.join(", "))
            }
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

fn stdin() -> Result<Bundle, Problems> {
    let input = io::stdin();
    if input.is_terminal() {
        let what = "expected a tar, and this is a terminal: `tar c -C bundle . | hawser join -`";
        return Err(Problems(vec![Problem::with(STDIN, what)]));
    }
    let place = Path::new(STDIN);
    let archive = bounded(input.lock()).map_err(|error| unreadable(place, &error))?;
    Bundle::unpacked(place, &archive)
}

/// What the unit was handed comes before what the machine was.
fn credential(name: &str, paths: &Paths, environment: &Environment) -> Result<Bundle, Problems> {
    let unit = environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let places = unit.into_iter().chain([paths.at(SYSTEM_CREDENTIALS)]);
    let place = PathBuf::from(format!("credential {name}"));
    let mut looked = Vec::new();
    for directory in places {
        let path = directory.join(name);
        match File::open(&path) {
            Ok(file) => {
                let archive = bounded(file).map_err(|error| unreadable(&place, &error))?;
                return Bundle::unpacked(&place, &archive);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                looked.push(path.display().to_string());
            }
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    let what = format!(
        "not there (looked for {}); LoadCredential={name}:PATH hands it to a unit, the \
         hypervisor's io.systemd.credential:{name}=… to a machine",
        looked.join(" and ")
    );
    Err(Problems(vec![Problem::with(place.display().to_string(), what)]))
}

const STDIN: &str = "standard input";
const SYSTEM_CREDENTIALS: &str = "run/credentials/@system";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_says_where_the_bundle_comes_from() {
        let of = |words: &[&str], credential| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Origin::of(&words, credential).map(|origin| origin.to_string())
        };
        assert_eq!(of(&["bundle"], None).unwrap(), "bundle");
        assert_eq!(of(&["-"], None).unwrap(), "standard input");
        assert_eq!(of(&[], Some("hawser.bundle")).unwrap(), "credential hawser.bundle");
        let both = ["https://a.example/b.tar?sig=secret", "HTTPS://b.example:8443"];
        assert_eq!(of(&both, None).unwrap(), "https://a.example/b.tar, https://b.example:8443/");

        for (words, credential, expected) in [
            (&[][..], None, "expected a bundle"),
            (&["a", "b"], None, "only several https addresses"),
            (&["https://a/b", "b"], None, "only several https addresses"),
            (&["http://a/b"], None, "https"),
            (&["ftp://a/b"], None, "https"),
            (&["https://me:secret@a/b"], None, "without a user"),
            (&[], Some("../../etc/shadow"), "no name of a credential"),
        ] {
            let told = of(words, credential).unwrap_err();
            assert!(told.contains(expected), "{words:?}: {told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
