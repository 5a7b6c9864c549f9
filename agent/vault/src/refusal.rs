//! What an answer that is no good means, and what helps. Pure.

use http::StatusCode;

use crate::{Error, Login, Options, answer::Said};

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Login,
    Renewal,
    Signing,
}

/// The error that an answer with this status is.
pub(crate) fn refused(
    step: Step,
    options: &Options,
    place: &str,
    status: StatusCode,
    body: &[u8],
) -> Error {
    let (vault, place) = (options.address.to_string(), place.to_owned());
    let (said, login) = (Said::read(body), options.login.name());
    match (status.as_u16(), step) {
        (503, _) if said.has("sealed") => Error::Sealed { vault },
        (status @ (412 | 429 | 472 | 473), _) => Error::Busy { vault, status, said },
        (404 | 405, _) => Error::NoPlace { vault, place, said, hint: missing(step, options) },
        (400 | 401 | 403, Step::Login) => {
            let hint = unbelieved(&options.login, status.as_u16());
            Error::Login { vault, login, said, hint }
        }
        (400 | 401 | 403, Step::Renewal) | (401 | 403, Step::Signing) => {
            Error::Denied { vault, login, place, said }
        }
        (400, Step::Signing) => {
            let hint = unsigned(&said, options);
            Error::Unsigned { vault, place, said, hint }
        }
        (status, _) => Error::Failing { vault, status, said },
    }
}

fn missing(step: Step, options: &Options) -> &'static str {
    match (step, options.namespace.is_empty()) {
        (Step::Signing, true) => {
            "check identity.vault.mount and identity.vault.role (`vault secrets list`), and whether \
             it is in a namespace"
        }
        (Step::Signing, false) => {
            "check identity.vault.mount, identity.vault.role and identity.vault.namespace"
        }
        _ => "check identity.vault.login_mount (`vault auth list`) and identity.vault.namespace",
    }
}

fn unbelieved(login: &Login, status: u16) -> &'static str {
    match login {
        Login::Token { .. } => {
            "it has expired, or was revoked: write another into the file (`vault token create`)"
        }
        // What it says where nothing is mounted, and of a token of Kubernetes that is no good.
        Login::AppRole { .. } if status == 403 => {
            "see that the method is mounted there (`vault auth list`, identity.vault.login_mount)"
        }
        Login::Jwt { .. } if status == 403 => {
            "see that the method is mounted there (`vault auth list`, identity.vault.login_mount), \
             and that the token in identity.vault.jwt is fresh and of an account of the role"
        }
        Login::AppRole { .. } => {
            "the secret id has expired or is used up, or the role is another one: write fresh ones \
             into identity.vault.role_id and identity.vault.secret_id (`vault write -f \
             auth/approle/role/ROLE/secret-id`)"
        }
        Login::Jwt { .. } => {
            "the token in identity.vault.jwt has expired, is made for somebody else (bound_audiences), \
             or is not bound to the role"
        }
    }
}

/// What the role has to say for a certificate of the mesh to be signed.
fn unsigned(said: &Said, options: &Options) -> String {
    let Options { mount, role, .. } = options;
    let change = |what: &str| format!("`vault patch {mount}/roles/{role} {what}`");
    if said.has("unknown role") {
        return format!("there is no such role: `vault list {mount}/roles`");
    }
    if said.has("uri") {
        return change("allowed_uri_sans='spiffe://TRUST_DOMAIN/*' require_cn=false");
    }
    if said.has("common_name") {
        return change("require_cn=false");
    }
    if said.has("key") {
        return format!("{} or identity.key", change("key_type=any"));
    }
    if said.has("ttl") || said.has("notafter") || said.has("expir") {
        return format!("{} or identity.ttl", change("max_ttl=…"));
    }
    format!("see `vault read {mount}/roles/{role}`")
}
