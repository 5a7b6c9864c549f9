//! What the agent is up to, in a sentence that is true: systemd shows it as the status of the unit.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::status::Facts;

/// What the sentence is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The gates that are closed.
    waits_for: Vec<&'static str>,
    identity: Identity,
    /// Since when istiod does not answer, and why.
    away: Option<(SystemTime, String)>,
}

/// The certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// None; why, and when that from before has expired.
    None { wrong: Option<String>, expired: Option<SystemTime> },
    /// Not valid any more; since when, and why there is no other.
    Expired { since: SystemTime, wrong: Option<String> },
    /// Valid until then; whether it is from before, and why there is no newer one.
    Valid { until: SystemTime, kept: bool, wrong: Option<String> },
}

impl Default for Identity {
    fn default() -> Self {
        Self::None { wrong: None, expired: None }
    }
}

impl View {
    /// How things are now. `away` is what was known of istiod before.
    pub(super) fn of(facts: &Facts, now: SystemTime, away: &mut Option<SystemTime>) -> Self {
        let progress = facts.identity.progress.borrow();
        let wrong = progress.trouble();
        let identity = match facts.identity.identity.borrow().as_deref() {
            None => Identity::None { wrong, expired: progress.expired },
            Some(pair) if pair.not_after() <= now => {
                Identity::Expired { since: pair.not_after(), wrong }
            }
            Some(pair) => {
                let kept = progress.obtained.is_none() && progress.source == "istiod";
                Identity::Valid { until: pair.not_after(), kept, wrong }
            }
        };
        let names = facts.mesh.as_ref().map(|mesh| {
            let seen = mesh.seen.watch();
            let names = &seen.borrow().names;
            (names.joined.is_none(), names.failure.clone())
        });
        let failure = match names {
            Some((true, Some(failure))) => {
                let since = *away.get_or_insert(failure.at);
                Some((since, failure.error))
            }
            _ => None,
        };
        if failure.is_none() {
            *away = None;
        }
        Self { waits_for: facts.gates.closed(), identity, away: failure }
    }

    /// When the certificate that is served expires.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        match self.identity {
            Identity::Valid { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The sentence; `told` is whether systemd takes the agent for ready.
    pub(super) fn sentence(
        &self,
        silent: &BTreeSet<String>,
        told: bool,
        note: Option<&str>,
    ) -> String {
        let mut text = if silent.is_empty() {
            self.state(told)
        } else {
            let silent = silent.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("does not answer: {silent}")
        };
        if let Some(note) = note {
            text.push_str("; ");
            text.push_str(note);
        }
        text
    }

    fn state(&self, told: bool) -> String {
        let because = |wrong: &Option<String>| {
            wrong.as_ref().map(|wrong| format!(": {wrong}")).unwrap_or_default()
        };
        let others: Vec<_> = self.waits_for.iter().filter(|gate| **gate != "identity").collect();
        if !others.is_empty() {
            return format!("starting, waits for {}", self.waits_for.join(", "));
        }
        match &self.identity {
            Identity::None { wrong, expired: Some(expired) } => {
                let expired = utc(*expired);
                format!("the certificate from before has expired at {expired}{}", because(wrong))
            }
            Identity::None { wrong, .. } if told => {
                format!("no certificate yet{}", because(wrong))
            }
            Identity::None { wrong, .. } => {
                format!("starting, waits for a certificate{}", because(wrong))
            }
            Identity::Expired { since, wrong } => {
                format!("the certificate has expired at {}{}", utc(*since), because(wrong))
            }
            Identity::Valid { until, kept, wrong } => {
                let mut text = self.serving(*until, *kept);
                // That istiod is away says it already.
                if let (Some(wrong), None) = (wrong, &self.away) {
                    text.push_str(&format!("; no new certificate: {wrong}"));
                }
                text
            }
        }
    }

    fn serving(&self, until: SystemTime, kept: bool) -> String {
        let Some((since, why)) = &self.away else { return "ready".to_owned() };
        let kept = if kept { "the certificate kept from before" } else { "a certificate" };
        format!(
            "serving {kept}, valid until {}; istiod unreachable since {}: {why}",
            utc(until),
            utc(*since)
        )
    }
}

fn utc(time: SystemTime) -> String {
    said(time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// Seconds since 1970 as people write a time, in UTC.
pub(crate) fn said(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute) = (rest / 3600, rest % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", rest % 60)
}

/// The date of a day since 1970. Years begin in March here, so that the day which some of them have
/// more is their last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + MARCH_0_TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / (ERA - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, date)
}

/// Days from March of the year 0 to 1970.
const MARCH_0_TO_1970: u64 = 719_468;
/// Days of 400 years.
const ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn away() -> Option<(SystemTime, String)> {
        Some((at(951_782_400), "connect to 10.0.0.1:15012: refused".to_owned()))
    }

    #[test]
    fn each_state_has_its_sentence() {
        let none = |wrong: Option<&str>, expired| Identity::None {
            wrong: wrong.map(str::to_owned),
            expired,
        };
        let valid = |kept| Identity::Valid { until: at(1_000_000_000), kept, wrong: None };
        let unwell = Identity::Valid {
            until: at(1_000_000_000),
            kept: false,
            wrong: Some("token rejected".to_owned()),
        };
        let cases = [
            (
                vec!["identity", "dns"],
                Identity::default(),
                None,
                false,
                "starting, waits for identity, dns",
            ),
            (
                vec!["identity"],
                none(Some("refused"), None),
                None,
                false,
                "starting, waits for a certificate: refused",
            ),
            (
                vec!["identity"],
                none(Some("refused"), None),
                None,
                true,
                "no certificate yet: refused",
            ),
            (
                vec!["identity"],
                none(Some("refused"), Some(at(0))),
                None,
                true,
                "the certificate from before has expired at 1970-01-01 00:00:00 UTC: refused",
            ),
            (vec![], valid(false), None, true, "ready"),
            (
                vec![],
                valid(true),
                away(),
                true,
                "serving the certificate kept from before, valid until 2001-09-09 01:46:40 UTC; istiod \
                 unreachable since 2000-02-29 00:00:00 UTC: connect to 10.0.0.1:15012: refused",
            ),
            (vec![], unwell, None, true, "ready; no new certificate: token rejected"),
            (
                vec![],
                Identity::Expired { since: at(86_399), wrong: None },
                away(),
                true,
                "the certificate has expired at 1970-01-01 23:59:59 UTC",
            ),
        ];
        for (waits_for, identity, away, told, expected) in cases {
            let view = View { waits_for, identity, away };

            assert_eq!(view.sentence(&BTreeSet::new(), told, None), expected);
        }
    }

    #[test]
    fn who_does_not_answer_is_the_news_and_a_note_comes_last() {
        let silent = BTreeSet::from(["dns 2".to_owned(), "DNS at 127.0.0.1:53".to_owned()]);

        let said = View::default().sentence(&silent, true, Some("needs a restart: dns.listen"));

        assert_eq!(
            said,
            "does not answer: DNS at 127.0.0.1:53, dns 2; needs a restart: dns.listen"
        );
    }

    #[test]
    fn days_are_counted_as_everybody_counts_them() {
        let cases = [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_778, (2026, 11, 21)),
            (47_541, (2100, 3, 1)),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
