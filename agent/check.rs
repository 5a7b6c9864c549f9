//! What the files say that a valid configuration points at: roots and token.

use std::{path::Path, time::SystemTime};

use hawser_identity::token;
use hawser_istiod::Roots;
use hawser_pki::{Bundle, SpiffeId};
use hawser_rt::Chain;

use crate::config::{Config, problem::Problem, source::read_text};

/// What stands in the way of a machine that wants to join, as far as its files tell.
pub fn joining(config: &Config, now: SystemTime) -> Vec<Problem> {
    roots(config).into_iter().chain(token(config, now)).collect()
}

/// The roots that istiod's certificates are checked against.
pub fn roots(config: &Config) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for roots in [&config.istiod.roots, &config.ca.roots] {
        let Roots::File(path) = roots else { continue };
        if let Some(wrong) = root_file(path)
            && !problems.contains(&wrong)
        {
            problems.push(wrong);
        }
    }
    problems
}

/// The token, which has to be good for as long as there is no certificate.
pub fn token(config: &Config, now: SystemTime) -> Option<Problem> {
    let wrong = match read_text(&config.token) {
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok(text) => match token::inspect(text.trim(), now) {
            Err(problem) => Some(Chain(&problem).to_string()),
            Ok(facts) => for_somebody_else(&config.node.id, facts.subject.as_deref()),
        },
    };
    wrong.map(|wrong| Problem::with(config.token.display().to_string(), wrong))
}

/// istiod issues what the token says, whatever the machine is configured as.
fn for_somebody_else(id: &SpiffeId, subject: Option<&str>) -> Option<String> {
    let account = subject?.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    let same = (namespace, name) == (id.namespace(), id.service_account());
    (!same).then(|| {
        format!(
            "it is for service account {name} in namespace {namespace}, and this machine is {id}; \
             make both with one run of `istioctl x workload entry configure`"
        )
    })
}

fn root_file(path: &Path) -> Option<Problem> {
    let wrong = match read_text(path) {
        Err(error) => format!("cannot be read: {error}"),
        Ok(text) => match Bundle::from_pem(&text) {
            Ok(_) => return None,
            Err(error) => format!("{}; expected the root certificate in PEM", Chain(&error)),
        },
    };
    Some(Problem::with(path.display().to_string(), wrong))
}
