//! Service-account tokens: minted as Kubernetes does, verified as istiod does.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::time::Time;

/// The audience that istiod demands.
pub const AUDIENCE: &str = "istio-ca";

/// The lifetime that istioctl asks for.
pub const LIFETIME: Duration = Duration::from_secs(3600);

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What a token says.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Namespace of the service account.
    pub namespace: String,
    /// Name of the service account.
    pub service_account: String,
    /// For whom the token is.
    pub audience: String,
    /// Until when it is good.
    pub expires: SystemTime,
}

impl Claims {
    /// A token as istioctl gets it: for istiod, good for an hour of the system's time; see
    /// [`TokenSigner::claims`] for another.
    #[must_use]
    pub fn new(namespace: &str, service_account: &str) -> Self {
        Self::at(namespace, service_account, SystemTime::now())
    }

    fn at(namespace: &str, service_account: &str, now: SystemTime) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            audience: AUDIENCE.to_owned(),
            expires: now + LIFETIME,
        }
    }
}

/// The cluster's key for service-account tokens; a clone signs with the same key.
#[derive(Debug, Clone)]
pub struct TokenSigner {
    key: Arc<EcdsaKeyPair>,
    time: Time,
}

impl TokenSigner {
    /// Makes a signer with a fresh key, in the system's time.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn new() -> Result<Self> {
        Self::at(&Time::default())
    }

    /// Makes a signer with a fresh key whose tokens are dated by this time.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn at(time: &Time) -> Result<Self> {
        let key =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("make a token key")?;
        Ok(Self { key: Arc::new(key), time: time.clone() })
    }

    /// What a token says that is for istiod and good for an hour from now, in its own time.
    #[must_use]
    pub fn claims(&self, namespace: &str, service_account: &str) -> Claims {
        Claims::at(namespace, service_account, self.time.now())
    }

    /// Signs a token that says `claims`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn mint(&self, claims: &Claims) -> Result<String> {
        let header = json!({ "alg": "ES256", "kid": "harness", "typ": "JWT" });
        let expires = seconds(claims.expires)?;
        let issued = seconds(self.time.now())?.min(expires.saturating_sub(1));
        let body = json!({
            "aud": [claims.audience],
            "exp": expires,
            "iat": issued,
            "nbf": issued,
            "iss": ISSUER,
            "kubernetes.io": {
                "namespace": claims.namespace,
                "serviceaccount": { "name": claims.service_account, "uid": "4f3c2b1a" },
            },
            "sub": format!(
                "system:serviceaccount:{}:{}", claims.namespace, claims.service_account
            ),
        });
        let signed = format!("{}.{}", encode(header.to_string()), encode(body.to_string()));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).context("sign a token")?;
        Ok(format!("{signed}.{}", encode(signature.as_ref())))
    }

    /// Checks a token against key, audience and clock; answers namespace and service account.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<(String, String)> {
        let (signed, signature) = token.rsplit_once('.').context("not a JWT")?;
        let (_, body) = signed.split_once('.').context("not a JWT")?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_unspecified| anyhow!("failed to verify signature"))?;
        let body: Value = serde_json::from_slice(&decode(body)?).context("payload is not JSON")?;
        let expires = body.get("exp").and_then(Value::as_u64).context("no exp")?;
        ensure!(seconds(now)? < expires, "token is expired");
        let audience = body.get("aud").and_then(Value::as_array).context("no aud")?;
        ensure!(audience.iter().any(|one| one == AUDIENCE), "invalid audiences {audience:?}");
        let subject = body.get("sub").and_then(Value::as_str).context("no sub")?;
        let mut parts = subject.splitn(4, ':').skip(2);
        let (Some(namespace), Some(account)) = (parts.next(), parts.next()) else {
            bail!("invalid sub {subject}");
        };
        Ok((namespace.to_owned(), account.to_owned()))
    }
}

/// The subject of a token, whether the token is any good or not.
#[must_use]
pub fn subject(token: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(&decode(token.split('.').nth(1)?).ok()?).ok()?;
    body.get("sub")?.as_str().map(str::to_owned)
}

fn seconds(time: SystemTime) -> Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH).context("time before 1970")?.as_secs())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 for URLs without padding (RFC 4648 section 5).
fn encode(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::new();
    for chunk in bytes.as_ref().chunks(3) {
        let mut group = [0u8; 4];
        for (place, byte) in group.iter_mut().skip(1).zip(chunk) {
            *place = *byte;
        }
        let bits = u32::from_be_bytes(group);
        for digit in 0..=chunk.len() {
            let shift = 18 - 6 * digit;
            let index = usize::try_from((bits >> shift) & 63).unwrap_or_default();
            text.extend(ALPHABET.get(index).map(|byte| char::from(*byte)));
        }
    }
    text
}

fn decode(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0u32;
        for byte in chunk {
            let digit = ALPHABET.iter().position(|one| one == byte).context("not base64url")?;
            bits = (bits << 6) | u32::try_from(digit)?;
        }
        ensure!(chunk.len() > 1, "base64url ends in the middle of a byte");
        bits <<= 6 * (4 - chunk.len()) + 8;
        bytes.extend(bits.to_be_bytes().iter().take(chunk.len() - 1));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_goes_both_ways() {
        for (plain, coded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")]
        {
            assert_eq!(encode(plain), coded);
            assert_eq!(decode(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(encode([0xfb, 0xff]), "-_8");
    }

    #[test]
    fn a_token_is_dated_by_the_time_of_its_signer_and_says_whose_it_is() {
        let time = Time::standing(UNIX_EPOCH + Duration::from_secs(4_000_000_000));
        let signer = TokenSigner::at(&time).unwrap();
        let token = signer.mint(&signer.claims("vms", "web")).unwrap();

        signer.verify(&token, time.now()).unwrap();
        assert!(signer.verify(&token, time.now() + LIFETIME).is_err());
        assert_eq!(subject(&token).unwrap(), "system:serviceaccount:vms:web");
        assert_eq!(subject("rubbish"), None);
    }

    #[test]
    fn a_token_is_good_for_its_account_audience_and_time_only() {
        let signer = TokenSigner::new().unwrap();
        let now = SystemTime::now();
        let claims = Claims::new("vms", "web");
        let token = signer.mint(&claims).unwrap();

        assert_eq!(signer.verify(&token, now).unwrap(), ("vms".to_owned(), "web".to_owned()));

        assert!(signer.verify(&token, now + 2 * LIFETIME).is_err());
        assert!(TokenSigner::new().unwrap().verify(&token, now).is_err());
        let other = Claims { audience: "api".to_owned(), ..claims };
        assert!(signer.verify(&signer.mint(&other).unwrap(), now).is_err());
        for broken in ["", "a.b", "a.b.c", "not a token"] {
            assert!(signer.verify(broken, now).is_err(), "{broken}");
        }
    }
}
