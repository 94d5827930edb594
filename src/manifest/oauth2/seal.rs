//! Refresh tokens as they are kept: sealed with the first one, which stands in the configuration and nowhere
//! else. A copy of the store, or an export, gives nobody a token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::connector::Refresh;
use crate::fault::Fault;
use crate::secret::Secret;

/// What the key is for: the same secret gives other keys elsewhere.
const PURPOSE: &str = "crossdock 2026-11-22 kept refresh token";

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Content {
    token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Timestamp>,
}

/// Seals what belongs to `credential`.
pub(super) fn seal(refresh: &Refresh, credential: &str, first: &Secret) -> Result<Vec<u8>, Fault> {
    let content = Content {
        token: refresh.token.expose().to_owned(),
        ends: refresh.ends,
        asked: refresh.asked,
    };
    let mut bytes = serde_json::to_vec(&content).map_err(|_| broken())?;
    let key = key(first)?;
    let nonce = key
        .seal_in_place_append_tag(Aad::from(credential.as_bytes()), &mut bytes)
        .map_err(|_| broken())?;
    Ok([nonce.as_ref().as_slice(), &bytes].concat())
}

/// Opens what was sealed.
pub(super) fn open(sealed: &[u8], credential: &str, first: &Secret) -> Result<Refresh, Fault> {
    let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
    let mut bytes = bytes.to_vec();
    let content = key(first)?
        .open_in_place(nonce, Aad::from(credential.as_bytes()), &mut bytes)
        .map_err(|_| damaged())?;
    let content: Content = serde_json::from_slice(content).map_err(|_| damaged())?;
    Ok(Refresh {
        token: Secret::new(content.token),
        ends: content.ends,
        asked: content.asked,
    })
}

fn key(first: &Secret) -> Result<RandomizedNonceKey, Fault> {
    let key = blake3::derive_key(PURPOSE, first.expose().as_bytes());
    RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| broken())
}

fn broken() -> Fault {
    Fault::bug("token_not_sealed", "a refresh token could not be sealed")
}

fn damaged() -> Fault {
    let message = "the refresh token that is kept in the store is damaged: authorise the application \
                   again, put the new one where the configuration takes it from, and reload";
    Fault::auth("token_damaged", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_the_first_one_reads_what_is_kept() {
        let secret = |text: &str| Secret::new(text);
        let refresh = Refresh {
            token: secret("rt-2"),
            ends: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            asked: None,
        };
        let first = secret("rt-1");
        let sealed = seal(&refresh, "it", &first).unwrap();
        let text = String::from_utf8_lossy(&sealed).into_owned();
        assert!(!text.contains("rt-2") && !text.contains("2027"), "{text}");
        let again = seal(&refresh, "it", &first).unwrap();
        assert_ne!(sealed, again, "never the same twice");
        let opened = open(&sealed, "it", &first).unwrap();
        assert_eq!(opened.token, refresh.token);
        assert_eq!(opened.ends, refresh.ends);

        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        let cases = [
            open(&sealed, "it", &secret("rt-0")),
            open(&sealed, "another", &first),
            open(&changed, "it", &first),
            open(&sealed[..5], "it", &first),
            open(&[], "it", &first),
        ];
        for case in cases {
            assert_eq!(case.unwrap_err().code, "token_damaged");
        }
    }
}
