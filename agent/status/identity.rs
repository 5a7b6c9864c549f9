//! What there is to say of the certificate: who, until when, from where, and what comes next.

use std::{sync::Arc, time::SystemTime};

use hawser_export::Exported;
use hawser_identity::{AtRest, Progress};
use hawser_istiod::{Credentials, Prospect};
use hawser_pki::{Bundle, Identity};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::seconds;

/// Where every fact comes from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The identity that is served.
    pub identity: watch::Receiver<Option<Arc<Identity>>>,
    /// The roots that are served.
    pub trusted: watch::Receiver<Option<Arc<Bundle>>>,
    /// How obtaining the next certificate goes.
    pub progress: watch::Receiver<Progress>,
    /// What istiod is shown.
    pub credentials: Credentials,
    /// How the files for other programs are, if they are wanted.
    pub exported: Option<watch::Receiver<Exported>>,
}

/// The certificate that is served. Times are seconds since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct IdentityStatus {
    pub source: String,
    /// Whom it names: a host, where it has no such id.
    pub spiffe_id: Option<String>,
    /// Why services of the mesh do not believe it, if they do not.
    #[serde(default)]
    pub remark: Option<String>,
    pub key: Option<String>,
    pub not_before: Option<u64>,
    pub not_after: Option<u64>,
    /// Seconds that the machine can live without istiod; below zero if the certificate has expired.
    pub expires_in: Option<i64>,
    /// When the next one is asked for.
    pub renews_at: Option<u64>,
    pub obtained: Option<ObtainedStatus>,
    /// How it survives a restart, and why it does not, if it does not.
    pub at_rest: String,
    #[serde(default)]
    pub not_kept: Option<String>,
    pub trouble: Option<String>,
    pub trouble_since: Option<u64>,
    /// Certificates asked for since the start, and how often there was none.
    pub asked: u64,
    pub failed: u64,
    /// What istiod has believed last.
    pub shown_last: Option<ShownStatus>,
    /// What it would be shown next, in this order.
    pub would_show: Vec<ProspectStatus>,
    pub roots: RootsStatus,
    pub export: Option<ExportStatus>,
}

/// How the certificate came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ObtainedStatus {
    pub at: u64,
    pub took_ms: u64,
    pub credential: String,
}

/// Something that istiod has believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ShownStatus {
    pub what: String,
    pub at: u64,
}

/// Something that istiod could be shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ProspectStatus {
    pub what: String,
    pub usable: bool,
    /// Whether it may come by itself.
    #[serde(default)]
    pub may_come: bool,
    pub note: Option<String>,
    pub expires: Option<u64>,
    pub subject: Option<String>,
    pub audiences: Vec<String>,
}

/// The roots that are trusted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct RootsStatus {
    pub count: usize,
    pub first_expiry: Option<u64>,
}

/// The files for other programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct ExportStatus {
    pub at: Option<u64>,
    pub trouble: Option<String>,
}

impl Facts {
    /// What holds at this moment. Looks at the files that istiod would be shown.
    pub async fn status(&self, now: SystemTime) -> IdentityStatus {
        let would_show = self.credentials.outlook().await;
        let identity = self.identity.borrow().clone();
        let progress = self.progress.borrow().clone();
        let identity = identity.as_deref();
        let not_after = identity.map(|identity| seconds(identity.not_after()));
        let left = not_after.map(|end| end.cast_signed() - seconds(now).cast_signed());
        IdentityStatus {
            source: progress.source.clone(),
            spiffe_id: identity.map(|identity| identity.name().to_owned()),
            remark: identity.and(progress.remark.clone()),
            key: identity.and_then(|identity| identity.key.kind()).map(|kind| kind.to_string()),
            not_before: identity.map(|identity| seconds(identity.not_before())),
            not_after,
            expires_in: left,
            renews_at: progress.next.map(seconds),
            obtained: progress.obtained.as_ref().map(|obtained| ObtainedStatus {
                at: seconds(obtained.at),
                took_ms: u64::try_from(obtained.took.as_millis()).unwrap_or(u64::MAX),
                credential: obtained.credential.clone(),
            }),
            at_rest: at_rest(&progress.at_rest),
            not_kept: match &progress.at_rest {
                AtRest::NotKept(reason) => Some(reason.clone()),
                _ => None,
            },
            trouble: progress.trouble(),
            trouble_since: progress.wrong.as_ref().map(|(_, since)| seconds(*since)),
            asked: progress.asked,
            failed: progress.failed,
            shown_last: self
                .credentials
                .last()
                .map(|used| ShownStatus { what: used.what, at: seconds(used.at) }),
            would_show: would_show.into_iter().map(Into::into).collect(),
            roots: self.roots(),
            export: self.exported.as_ref().map(|exported| exported.borrow().into()),
        }
    }

    fn roots(&self) -> RootsStatus {
        let trusted = self.trusted.borrow();
        RootsStatus {
            count: trusted.as_ref().map_or(0, |roots| roots.len()),
            first_expiry: trusted.as_ref().and_then(|roots| roots.first_expiry()).map(seconds),
        }
    }
}

fn at_rest(at_rest: &AtRest) -> String {
    match at_rest {
        AtRest::Nothing => "nothing yet".to_owned(),
        AtRest::NotKept(reason) => format!("not kept: {reason}"),
        AtRest::Plain => "plain, for its owner alone".to_owned(),
        AtRest::Sealed => "sealed with systemd-creds".to_owned(),
        AtRest::NotOurs => "not ours to keep".to_owned(),
    }
}

impl From<Prospect> for ProspectStatus {
    fn from(prospect: Prospect) -> Self {
        Self {
            what: prospect.what,
            usable: prospect.usable,
            may_come: prospect.may_come,
            note: prospect.note,
            expires: prospect.expires.map(seconds),
            subject: prospect.subject,
            audiences: prospect.audiences,
        }
    }
}

impl From<watch::Ref<'_, Exported>> for ExportStatus {
    fn from(exported: watch::Ref<'_, Exported>) -> Self {
        Self { at: exported.at.map(seconds), trouble: exported.wrong.clone() }
    }
}
