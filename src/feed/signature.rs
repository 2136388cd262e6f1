//! Signatures of what is sent, by Standard Webhooks 1.0 (standardwebhooks.com, "Signature scheme"):
//! `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with as people write it.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, by the specification.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at once: the one in use and, while it is exchanged, the next one.
const SECRETS_MAX: usize = 2;

/// What can be signed with: one secret, or two while one is exchanged for the other.
#[derive(Clone)]
pub struct PushSecrets(Vec<Hmac<Sha256>>);

impl fmt::Debug for PushSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushSecrets({})", self.0.len())
    }
}

impl PushSecrets {
    /// Reads `whsec_…`, or two of them with a space between; `None` if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let keys = text.split_ascii_whitespace().map(|secret| {
            let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
            let key = Some(key).filter(|key| SECRET_BYTES.contains(&key.len()))?;
            Hmac::<Sha256>::new_from_slice(&key).ok()
        });
        let keys = keys.collect::<Option<Vec<_>>>()?;
        (1..=SECRETS_MAX).contains(&keys.len()).then_some(Self(keys))
    }

    /// The value of `webhook-signature`: one signature for each secret.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let sign = |key: &Hmac<Sha256>| {
            let mac = key.clone().chain_update(signed.as_bytes()).finalize();
            format!("v1,{}", STANDARD.encode(mac.into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_gets_its_signature() {
        let secrets = PushSecrets::parse(SECRET).unwrap();
        let signature =
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_is_exchanged_both_sign() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = PushSecrets::parse(&format!("{SECRET} {other}")).unwrap();
        let each = [SECRET, &other].map(|one| PushSecrets::parse(one).unwrap().sign("m", 1, "{}"));
        assert_eq!(both.sign("m", 1, "{}"), each.join(" "));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_none_is_shown() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        let three = [SECRET; 3].join(" ");
        for bad in ["", " ", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long, &three] {
            assert!(PushSecrets::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{:?}", PushSecrets::parse(SECRET).unwrap()), "PushSecrets(1)");
    }
}
