//! What the double answers, and what it remembers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use rcgen::{CertificateSigningRequestParams, SanType};
use serde_json::{Value, json};

use super::{JWT, MOUNT, ROLE, ROLE_ID, SECRET_ID};
use crate::ca::TestCa;

/// Whom it takes, and what it gives.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The namespace that everything is in; empty where there are none.
    pub namespace: String,
    /// What a token lives.
    pub ttl: Duration,
    /// What it may live at most, however often it is renewed.
    pub max_ttl: Duration,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// How many more logins the secret id is good for.
    pub secret_id_uses: Option<usize>,
    /// What ids that are signed begin with.
    pub allowed: String,
    /// Whether the policy of logins has the role.
    pub policy: bool,
    /// What a certificate lives at most.
    pub max_certificate_ttl: Duration,
    /// Whom it signs for, whoever asks.
    pub signs_for: Option<String>,
    /// Whether the chain has the root.
    pub with_root: bool,
}

/// A question, as it came.
pub(super) struct Question<'a> {
    pub(super) method: &'a str,
    pub(super) place: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// The engine and its tokens.
pub(super) struct Desk {
    pub(super) rules: Rules,
    ca: TestCa,
    tokens: BTreeMap<String, Token>,
    given: usize,
}

struct Token {
    ends: SystemTime,
    last: SystemTime,
}

type Answer = Response<Full<Bytes>>;

impl Default for Rules {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(24 * 3600),
            renewable: true,
            secret_id_uses: None,
            allowed: "spiffe://cluster.local/".to_owned(),
            policy: true,
            max_certificate_ttl: Duration::from_secs(24 * 3600),
            signs_for: None,
            with_root: true,
        }
    }
}

impl Desk {
    pub(super) fn new(ca: &TestCa) -> Self {
        Self { rules: Rules::default(), ca: ca.clone(), tokens: BTreeMap::new(), given: 0 }
    }

    pub(super) fn answer(&mut self, question: &Question<'_>) -> Answer {
        if question.namespace.unwrap_or_default().trim_matches('/') != self.rules.namespace {
            return failed(StatusCode::NOT_FOUND, "namespace not found");
        }
        let body: Value = serde_json::from_slice(question.body).unwrap_or_default();
        let signing = format!("{MOUNT}/sign/");
        match (question.method, question.place) {
            ("POST", "auth/approle/login") => self.approle(&body),
            ("POST", "auth/jwt/login" | "auth/kubernetes/login") => {
                match (word(&body, "jwt"), word(&body, "role")) {
                    (Some(JWT), Some(ROLE)) => self.logged_in(),
                    (_, Some(ROLE)) => failed(StatusCode::BAD_REQUEST, "error validating token"),
                    _ => failed(StatusCode::BAD_REQUEST, "role could not be found"),
                }
            }
            ("GET", "auth/token/lookup-self") => self.known(question.token, |desk, token| {
                let ttl = desk.left(token).as_secs();
                json(&json!({"data": {"ttl": ttl, "renewable": desk.rules.renewable}}))
            }),
            ("POST", "auth/token/renew-self") => self.known(question.token, Self::renew),
            ("POST", place) if place.starts_with(&signing) => {
                let role = place.trim_start_matches(&signing).to_owned();
                self.known(question.token, |desk, _| desk.sign(&role, &body))
            }
            (_, place) if place.starts_with("auth/") => {
                failed(StatusCode::FORBIDDEN, "permission denied")
            }
            (_, place) => failed(
                StatusCode::NOT_FOUND,
                &format!("no handler for route \"{place}\". route entry not found."),
            ),
        }
    }

    pub(super) fn issue(&mut self) -> String {
        self.given += 1;
        let (now, token) = (self.now(), format!("s.token{}", self.given));
        let last = now + self.rules.max_ttl;
        let ends = (now + self.rules.ttl).min(last);
        self.tokens.insert(token.clone(), Token { ends, last });
        token
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    fn approle(&mut self, body: &Value) -> Answer {
        let shown = (word(body, "role_id"), word(body, "secret_id"));
        if shown != (Some(ROLE_ID), Some(SECRET_ID)) || self.rules.secret_id_uses == Some(0) {
            return failed(StatusCode::BAD_REQUEST, "invalid role or secret ID");
        }
        self.rules.secret_id_uses = self.rules.secret_id_uses.map(|left| left - 1);
        self.logged_in()
    }

    fn logged_in(&mut self) -> Answer {
        let token = self.issue();
        self.granted(&token)
    }

    fn granted(&self, token: &str) -> Answer {
        let (seconds, renewable) = (self.left(token).as_secs(), self.rules.renewable);
        let auth = json!({
            "client_token": token, "accessor": "accessor", "policies": ["default", "sign"],
            "lease_duration": seconds, "renewable": renewable, "token_type": "service",
        });
        json(
            &json!({"request_id": "1", "lease_id": "", "data": null, "warnings": null, "auth": auth}),
        )
    }

    fn renew(&mut self, shown: &str) -> Answer {
        if !self.rules.renewable {
            return failed(StatusCode::BAD_REQUEST, "lease is not renewable");
        }
        let ends = self.now() + self.rules.ttl;
        if let Some(token) = self.tokens.get_mut(shown) {
            token.ends = ends.min(token.last);
        }
        self.granted(shown)
    }

    fn sign(&self, role: &str, body: &Value) -> Answer {
        if !self.rules.policy {
            return failed(StatusCode::FORBIDDEN, "1 error occurred:\n\t* permission denied\n\n");
        }
        if role != ROLE {
            return failed(StatusCode::BAD_REQUEST, &format!("unknown role: {role}"));
        }
        let csr = word(body, "csr").unwrap_or_default();
        let Ok(request) = CertificateSigningRequestParams::from_pem(csr) else {
            return failed(StatusCode::BAD_REQUEST, "certificate request could not be parsed");
        };
        let names = request.params.subject_alt_names.iter().filter_map(|name| match name {
            SanType::URI(uri) => Some(uri.to_string()),
            _ => None,
        });
        let mut ids: Vec<String> = names.collect();
        if ids.iter().any(|id| !id.starts_with(&self.rules.allowed)) {
            let said = "URI Subject Alternative Names were provided via CSR which are not valid \
                        for this role";
            return failed(StatusCode::BAD_REQUEST, said);
        }
        if let Some(other) = &self.rules.signs_for {
            ids = vec![other.clone()];
        }
        let asked = word(body, "ttl").and_then(|ttl| ttl.trim_end_matches('s').parse().ok());
        let longest = self.rules.max_certificate_ttl.as_secs().cast_signed();
        match self.ca.sign(csr, &ids, asked.unwrap_or(longest).min(longest)) {
            Ok(mut answer) => {
                let roots = answer.pop();
                let mut above = answer.split_off(1);
                above.retain(|one| Some(one) != roots.as_ref());
                above.extend(roots.filter(|_| self.rules.with_root));
                json(&json!({"data": {
                    "certificate": answer.first(), "issuing_ca": above.first(), "ca_chain": above,
                    "serial_number": "01:02", "expiration": 0,
                }}))
            }
            Err(refusal) => failed(StatusCode::BAD_REQUEST, &format!("{refusal:?}")),
        }
    }

    /// What is answered to whoever shows a token that is good.
    fn known(
        &mut self,
        shown: Option<&str>,
        answer: impl FnOnce(&mut Self, &str) -> Answer,
    ) -> Answer {
        match shown.filter(|shown| !self.left(shown).is_zero()) {
            Some(shown) => answer(self, shown),
            None => failed(StatusCode::FORBIDDEN, "permission denied"),
        }
    }

    fn left(&self, token: &str) -> Duration {
        let ends = self.tokens.get(token).map(|token| token.ends);
        ends.and_then(|ends| ends.duration_since(self.now()).ok()).unwrap_or_default()
    }

    fn now(&self) -> SystemTime {
        self.ca.time().now()
    }
}

pub(super) fn failed(status: StatusCode, said: &str) -> Answer {
    let mut answer = json(&json!({"errors": [said]}));
    *answer.status_mut() = status;
    answer
}

fn word<'a>(body: &'a Value, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Value::as_str)
}

fn json(value: &Value) -> Answer {
    Response::new(Full::new(value.to_string().into()))
}
