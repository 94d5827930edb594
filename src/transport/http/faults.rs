//! The faults of HTTP, with their codes and effects in one place, and the redaction of addresses.
//!
//! | code | class | effect | when |
//! |---|---|---|---|
//! | `http_address` | Config | none | the address, method or a header cannot be sent |
//! | `http_setup` | Config | none | proxy or certificates of the connection do not work |
//! | `http_dns` | Retry | none | the name is unknown |
//! | `http_connect` | Retry | none | refused or unreachable, also by the proxy |
//! | `http_connect_timeout` | Retry | none | nobody answered in time |
//! | `http_tls` | Retry | none | the handshake failed: certificate, name, protocol |
//! | `http_timeout` | Retry | unknown | sent, and no whole reply in time |
//! | `http_cut` | Retry | unknown | sent, and the connection broke before the reply was whole |
//! | `body_too_large` | Reject | unknown | the reply is longer than the cap |
//!
//! A message names the method and the [redacted](redact) address, never a query string, a header's
//! value or a body.

use std::error::Error;
use std::time::Duration;

use crate::fault::Fault;

/// `scheme://host:port/path`: what may be shown of an address. User, password, query and fragment are
/// left out (story 55: a key in the query reached the log).
pub fn redact(url: &str) -> String {
    let Ok(url) = url::Url::parse(url) else {
        return "(not an address)".into();
    };
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let path = if url.cannot_be_a_base() {
        ""
    } else {
        url.path()
    };
    format!("{}://{host}{port}{path}", url.scheme())
}

/// What was being sent when a fault happened; its words begin every message.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Already redacted.
    pub url: &'a str,
}

impl Target<'_> {
    /// The request as written cannot be sent.
    pub fn address(&self, why: &str) -> Fault {
        let message = format!("{} {}: {why}", self.method, self.url);
        Fault::config("http_address", message)
    }

    /// The connection's proxy or certificates do not work.
    pub fn setup(&self, why: &str) -> Fault {
        let message = format!("{} {}: {why}", self.method, self.url);
        Fault::config("http_setup", message)
    }

    /// The name of the host is unknown.
    pub fn dns(&self) -> Fault {
        let message = format!(
            "{} {}: the host's name cannot be resolved; check the address and this machine's DNS",
            self.method, self.url
        );
        Fault::retry("http_dns", message)
    }

    /// Nobody took the connection.
    pub fn connect(&self, cause: &str) -> Fault {
        let message = format!("{} {}: cannot connect: {cause}", self.method, self.url);
        Fault::retry("http_connect", message)
    }

    /// Nobody took the connection in time.
    pub fn connect_timeout(&self, limit: Duration) -> Fault {
        let message = format!(
            "{} {}: no connection within {limit:?}; is the host up and the port open?",
            self.method, self.url
        );
        Fault::retry("http_connect_timeout", message)
    }

    /// The handshake failed; nothing of the request left.
    pub fn tls(&self, cause: &str) -> Fault {
        let message = format!(
            "{} {}: no secure connection: {cause}; a private authority needs `ca_file`",
            self.method, self.url
        );
        Fault::retry("http_tls", message)
    }

    /// No whole reply in time.
    pub fn timeout(&self, limit: Duration) -> Fault {
        let message = format!(
            "{} {}: no whole reply within {limit:?}",
            self.method, self.url
        );
        Fault::retry("http_timeout", message).after_sending()
    }

    /// The connection broke before the reply was whole.
    pub fn cut(&self, cause: &str) -> Fault {
        let message = format!("{} {}: the reply was cut: {cause}", self.method, self.url);
        Fault::retry("http_cut", message).after_sending()
    }

    /// The reply is longer than allowed.
    pub fn too_large(&self, limit: usize) -> Fault {
        let message = format!(
            "{} {}: the reply is longer than {limit} bytes; ask for smaller pages or raise \
             `max_body_bytes`",
            self.method, self.url
        );
        Fault::reject("body_too_large", message).after_sending()
    }
}

/// An error and what caused it, from the outside in. An I/O error that wraps another one does not name
/// it as its source.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// The innermost cause, in its own words. The layers around it repeat addresses.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Effect;

    /// Story 55: key in the URL query.
    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let cases = [
            (
                "https://bob:pw@shop.example:8443/orders/7?api_key=s3cret#top",
                "https://shop.example:8443/orders/7",
            ),
            ("http://shop.example", "http://shop.example/"),
            ("http://[::1]:80/a", "http://[::1]/a"),
            ("mailto:bob@example.com?subject=x", "mailto://"),
            ("shop.example/orders?key=1", "(not an address)"),
            ("", "(not an address)"),
        ];
        for (url, expect) in cases {
            assert_eq!(redact(url), expect, "{url}");
        }
    }

    #[test]
    fn what_left_is_unknown_and_what_did_not_is_none() {
        let target = Target {
            method: "POST",
            url: "http://shop.example/orders",
        };
        let second = Duration::from_secs(1);
        for fault in [target.dns(), target.connect("x"), target.tls("x")] {
            assert_eq!(fault.effect, Effect::None, "{fault}");
        }
        assert_eq!(target.connect_timeout(second).effect, Effect::None);
        for fault in [target.timeout(second), target.cut("x"), target.too_large(7)] {
            assert_eq!(fault.effect, Effect::Unknown, "{fault}");
        }
    }
}
