//! Vault: its PKI engine signs what istiod's authority would have signed.

use std::path::Path;

use hawser_pki::Bundle;
use hawser_vault::{Signed, Vault};
use tokio::time::Instant;

use crate::{
    Error, Options,
    request::{Answer, Prepared, Refusal, Wanted},
};

/// Has the request signed, and judges the answer as that of any authority.
pub(super) async fn certificate(
    (vault, named): (&Vault, Option<&Path>),
    options: &Options,
    prepared: &Prepared,
    wanted: &Wanted<'_>,
) -> Result<Answer, Refusal> {
    let began = Instant::now();
    let signed = vault.sign(&prepared.csr, &options.id.to_string(), options.ttl).await;
    let signed = signed.map_err(|source| Error::Vault { source: Box::new(source) })?;
    let Signed { mut chain, login } = signed;
    chain.push(roots(&wanted.ca, &chain, named).await?);
    let judged = wanted.judge(prepared, &chain, options.clock.now(), (began.elapsed(), login));
    judged.map_err(|refusal| match refusal {
        Refusal { error: Error::OtherIdentity { ca, issued, expected }, early } => {
            Refusal { error: Error::SignedForOther { ca, issued, expected }, early }
        }
        other => other,
    })
}

/// The roots that are named, else those that came along.
async fn roots(ca: &str, chain: &[String], named: Option<&Path>) -> Result<String, Error> {
    if let Some(path) = named {
        let unread = |source| Error::ReadFile { path: path.to_owned(), source };
        return tokio::fs::read_to_string(path).await.map_err(unread);
    }
    let unusable = |source| Error::Unusable { ca: ca.to_owned(), source: Box::new(source) };
    let roots = Bundle::own_issuers(&chain.join("\n")).map_err(unusable)?;
    let roots = roots.ok_or_else(|| Error::NoRoot { ca: ca.to_owned() })?;
    Ok(roots.pem().to_owned())
}
