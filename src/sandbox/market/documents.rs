//! Feed documents: where a feed's content is put and a report is fetched, away from the API.
//!
//! The URL itself is the permission, for five minutes. It is under another name of the same listener,
//! and it refuses whoever shows the API's credentials there, as an object store does whose signature
//! does not cover them. Errors are XML.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::json;

use super::api;
use crate::clock::{Timestamp, later};
use crate::sandbox::serve::{Call, Reply};

/// How long a URL is good.
const URL_LIFE: Duration = Duration::from_mins(5);

/// All documents.
#[derive(Debug, Default)]
pub(super) struct Documents {
    last: u64,
    /// The permissions that are good at the moment, by what the URL carries.
    urls: BTreeMap<String, Permission>,
    by_id: BTreeMap<String, Document>,
}

#[derive(Debug)]
struct Permission {
    document: String,
    method: &'static str,
    until: Timestamp,
    /// Somebody downloads who wants HTTP itself to say that it is compressed.
    says_encoding: bool,
}

#[derive(Debug)]
struct Document {
    content_type: String,
    body: Option<Bytes>,
    gzip: bool,
}

impl Documents {
    /// `createFeedDocument`: a place and a permission to fill it.
    pub(super) fn create(&mut self, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            content_type: String,
        }
        let wanted: Wanted = api::body(call)?;
        let id = self.add(wanted.content_type, None, false);
        let url = self.permit(&id, "PUT", false, call, now);
        Ok(Reply::json(
            201,
            &json!({ "feedDocumentId": id, "url": url }),
        ))
    }

    /// `getFeedDocument`: a permission to read one.
    pub(super) fn open(&mut self, id: &str, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let Some(document) = self.by_id.get(id) else {
            return Err(api::error(404, "NotFound", "Feed document not found"));
        };
        let gzip = document.gzip;
        let flag = call.query.get("enableContentEncodingUrlHeader");
        let says_encoding = flag.is_some_and(|flag| flag == "true");
        let url = self.permit(id, "GET", says_encoding, call, now);
        let mut body = json!({ "feedDocumentId": id, "url": url });
        if gzip {
            body["compressionAlgorithm"] = json!("GZIP");
        }
        Ok(Reply::ok(&body))
    }

    /// A report that the marketplace wrote itself.
    pub(super) fn add_report(&mut self, text: &str, gzip: bool) -> String {
        let body = if gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            // Writing into memory cannot fail.
            let _ = encoder.write_all(text.as_bytes());
            encoder.finish().unwrap_or_default().into()
        } else {
            Bytes::copy_from_slice(text.as_bytes())
        };
        self.add("application/json; charset=UTF-8".into(), Some(body), gzip)
    }

    /// What was uploaded; `None` when nothing was, or there is no such document.
    pub(super) fn content(&self, id: &str) -> Option<Bytes> {
        self.by_id.get(id)?.body.clone()
    }

    /// Whether there is such a document, filled or not.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    fn add(&mut self, content_type: String, body: Option<Bytes>, gzip: bool) -> String {
        self.last += 1;
        let id = format!("amzn1.tortuga.4.eu.practice.{:06}", self.last);
        let document = Document {
            content_type,
            body,
            gzip,
        };
        self.by_id.insert(id.clone(), document);
        id
    }

    fn permit(
        &mut self,
        id: &str,
        method: &'static str,
        says_encoding: bool,
        call: &Call,
        now: Timestamp,
    ) -> String {
        self.urls.retain(|_, permission| permission.until > now);
        let until = later(now, URL_LIFE);
        let bytes = super::first_bytes(&format!("{method} {id} {now}"));
        let signature = format!("{:016x}", u64::from_be_bytes(bytes));
        let permission = Permission {
            document: id.to_owned(),
            method,
            until,
            says_encoding,
        };
        self.urls.insert(signature.clone(), permission);
        let (host, life) = (other_name(call), URL_LIFE.as_secs());
        // Without a network all addresses are https ones.
        let scheme = if host.ends_with(".sandbox") {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{host}/documents/{id}?X-Amz-Expires={life}&X-Amz-Signature={signature}")
    }

    /// Fills a document.
    pub(super) fn upload(&mut self, id: &str, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        self.permitted(id, call, now)?;
        let Some(document) = self.by_id.get_mut(id) else {
            return Err(xml(404, "NoSuchKey", "The specified key does not exist."));
        };
        let said = call.headers.get("content-type").map_or("", String::as_str);
        if !said.eq_ignore_ascii_case(&document.content_type) {
            return Err(xml(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            ));
        }
        document.body = Some(call.body.clone());
        Ok(Reply {
            status: 200,
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }

    /// Gives a document out.
    pub(super) fn download(&self, id: &str, call: &Call, now: Timestamp) -> Result<Reply, Reply> {
        let permission = self.permitted(id, call, now)?;
        let found = self.by_id.get(id);
        let Some((document, body)) = found.and_then(|one| Some((one, one.body.clone()?))) else {
            return Err(xml(404, "NoSuchKey", "The specified key does not exist."));
        };
        let mut headers = vec![("content-type".to_owned(), document.content_type.clone())];
        if document.gzip && permission.says_encoding {
            headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        }
        Ok(Reply {
            status: 200,
            headers,
            body,
        })
    }

    fn permitted(&self, id: &str, call: &Call, now: Timestamp) -> Result<&Permission, Reply> {
        if call.headers.contains_key("authorization") {
            return Err(xml(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
                 Signature query string parameter or the Authorization header should be specified",
            ));
        }
        let unsigned = call.headers.keys().any(|name| name.starts_with("x-amz-"));
        if unsigned {
            let text = "There were headers present in the request which were not signed";
            return Err(xml(403, "AccessDenied", text));
        }
        let signature = call.query.get("X-Amz-Signature");
        let permission = signature.and_then(|signature| self.urls.get(signature));
        match permission {
            Some(one) if one.until <= now => Err(xml(403, "AccessDenied", "Request has expired")),
            Some(one) if one.document == id && one.method == call.method => Ok(one),
            _ => Err(xml(403, "AccessDenied", "Access Denied")),
        }
    }
}

/// The same listener under another name, so that it is another origin for a client.
fn other_name(call: &Call) -> String {
    let host = call.headers.get("host").map_or("", String::as_str);
    match host.strip_prefix("127.0.0.1:") {
        Some(port) => format!("localhost:{port}"),
        // In a world without a network, systems are reached by name.
        None => format!("documents.{host}"),
    }
}

fn xml(status: u16, code: &str, message: &str) -> Reply {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Reply {
        status,
        headers: vec![("content-type".into(), "application/xml".into())],
        body: Bytes::from(text),
    }
}
