//! `hawser services import`: a first file of services, made of what others print.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use hawser_services::import::{self, Wanted, gateway, trust_domain};

use super::super::{Context, Exit, complain, say};

/// Make a file of services of what kubectl or istioctl print, or of a list of names
///
/// What is read is what one of these prints: `kubectl get svc,serviceentry,pods -A -o json` (or yaml;
/// the pods tell which service accounts answer), `istioctl proxy-config cluster POD -o json` (which
/// knows the identities), the table of the latter, or lines of HOST:PORT, HOST:PORT/PROTOCOL, and
/// behind them who answers. The file is printed; what is left out is told on standard error, with the
/// reason. An east-west gateway among the services of kubectl becomes the gateway of the file. Where
/// only the namespace is known, any account of it may answer: say which. Nothing is asked of a cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 there is a file, 1 what was read tells of no service, 64 wrong usage.\n\n\
Examples:\n  kubectl get svc,serviceentry,pods -A -o json | hawser services import > services.yaml\n  \
istioctl proxy-config cluster deploy/web -o json | hawser services import --gateway gw.example.com\n  \
hawser services import --gateway 203.0.113.7 names.txt")]
pub(super) struct Import {
    /// The file; standard input if there is none, or -
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// An east-west gateway: HOST, or HOST:PORT if it is not 15443; several times for several
    #[arg(long, value_name = "GATEWAY", value_parser = gateway)]
    gateway: Vec<String>,
    /// Take services of this namespace alone; several times for several. Else all but the system's
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// The trust domain to write into the file, if it is not the machine's
    #[arg(long, value_name = "DOMAIN", value_parser = trust_domain)]
    trust_domain: Option<String>,
    /// What names of Kubernetes services end in
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
}

impl Import {
    pub(super) fn run(&self, _context: &Context) -> Exit {
        let standard = Path::new("-");
        let path = self.file.as_deref().unwrap_or(standard);
        let read =
            if path == standard { text(io::stdin()) } else { File::open(path).and_then(text) };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                complain(format_args!("hawser: {}: {error}", path.display()));
                return Exit::Failed;
            }
        };
        let wanted = Wanted {
            gateways: self.gateway.clone(),
            trust_domain: self.trust_domain.clone(),
            cluster_domain: self.cluster_domain.clone(),
            namespaces: self.namespace.clone(),
        };
        let name = if path == standard { Path::new("standard input") } else { path };
        match import::import(&read, name, &wanted) {
            Ok(imported) => {
                for skipped in &imported.skipped {
                    complain(format_args!("hawser: left out {skipped}"));
                }
                complain(format_args!("hawser: {} services", imported.services));
                say(imported.text.trim_end());
                Exit::Ok
            }
            Err(problems) => {
                for problem in &problems.0 {
                    complain(format_args!("hawser: {problem}"));
                }
                Exit::Failed
            }
        }
    }
}

/// All of it, if it is no more than a large cluster prints.
fn text(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::other(format!("more than {} MiB", MOST >> 20)));
    }
    Ok(text)
}

const MOST: u64 = 256 << 20;
