//! `auth.oauth1`: a request signed with a key and a secret, without a token (RFC 5849, "one-legged").
//!
//! The proof stands in the query, where it survives servers and proxies that drop the header
//! `Authorization`. The secret never travels. A signature holds for one request: its time and a nonce
//! are part of it, so that a request that is sent again is signed again.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::secret::Secret;

/// RFC 5849 section 3.6: everything but these is encoded.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Who signs.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) key: String,
    pub(super) secret: Secret,
}

impl Signer {
    /// `url` with the proof in its query. `nonce` must be new for each request of one `now`.
    pub(super) fn sign(&self, method: &str, url: &str, now: Timestamp, nonce: &str) -> String {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let proof = [
            ("oauth_consumer_key", self.key.as_str()),
            ("oauth_nonce", nonce),
            ("oauth_signature_method", "HMAC-SHA256"),
            ("oauth_timestamp", &now.as_second().to_string()),
            ("oauth_version", "1.0"),
        ]
        .map(|(name, value)| (encode(name), encode(value)));
        let text = base_string(method, address, query, &proof);
        // There is no token: its secret is empty.
        let key = format!("{}&", encode(self.secret.expose()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
        let proof = proof.map(|(name, value)| format!("{name}={value}"));
        let own = (!query.is_empty()).then(|| query.to_owned());
        let signature = format!("oauth_signature={}", encode(&signature));
        let all: Vec<String> = own.into_iter().chain(proof).chain([signature]).collect();
        format!("{address}?{}", all.join("&"))
    }
}

/// What is signed (RFC 5849 section 3.4.1): the method, the address and all parameters in their order.
fn base_string(method: &str, address: &str, query: &str, proof: &[(String, String)]) -> String {
    let own = query.split('&').filter(|pair| !pair.is_empty());
    let own = own.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (again(name), again(value))
    });
    let mut all: Vec<(String, String)> = own.chain(proof.iter().cloned()).collect();
    all.sort();
    let pairs: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let method = method.to_ascii_uppercase();
    format!(
        "{method}&{}&{}",
        encode(&plain_address(address)),
        encode(&pairs.join("&"))
    )
}

/// Scheme and host in lower case, without a port that goes without saying (section 3.4.1.2).
fn plain_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let (host, path) = rest
        .find('/')
        .map_or((rest, "/"), |slash| rest.split_at(slash));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let usual = match scheme.as_str() {
        "http" => ":80",
        _ => ":443",
    };
    let host = host.strip_suffix(usual).unwrap_or(&host);
    format!("{scheme}://{host}{path}")
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// However it was encoded before, it is encoded as the standard wants it.
fn again(text: &str) -> String {
    encode(&percent_decode_str(text).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5849 section 3.4.1.1: two parameters of one name, an encoded name, an empty
    /// value, a space. (Its `a2` and `c2` come in a form body there, which no manifest sends: here they
    /// are in the query.)
    #[test]
    fn the_base_string_is_that_of_the_standard() {
        let proof: Vec<(String, String)> = [
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
        ]
        .map(|(name, value)| (encode(name), encode(value)))
        .to_vec();
        let query = "b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2=&a3=2%20q";
        let text = base_string("POST", "http://EXAMPLE.COM:80/request", query, &proof);
        assert_eq!(
            text,
            "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q\
             %26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_\
             key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_m\
             ethod%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk\
             9d7dh3k39sjv7"
        );
    }

    /// Against Python's `hmac` and `hashlib`, from the base string on.
    #[test]
    fn a_signature_is_what_others_compute() {
        let signer = Signer {
            key: "ck_1".to_owned(),
            secret: Secret::new("cs_&2".to_owned()),
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let url = "http://shop.test/wp-json/wc/v3/orders?status=processing%2Con-hold&per_page=100";
        assert_eq!(
            signer.sign("get", url, now, "n1"),
            format!(
                "{url}&oauth_consumer_key=ck_1&oauth_nonce=n1&oauth_signature_method=HMAC-SHA256\
                 &oauth_timestamp=1700000000&oauth_version=1.0&oauth_signature=1J%2BQb9ewBp5XyOcIwv8haxkUsFbm1wr936nTqWGzs5o%3D"
            )
        );
        let bare = signer.sign("GET", "http://shop.test/wp-json/", now, "n1");
        assert!(
            bare.starts_with("http://shop.test/wp-json/?oauth_consumer_key=ck_1&"),
            "{bare}"
        );
        assert!(!bare.contains("cs_"), "the secret never travels");
    }
}
