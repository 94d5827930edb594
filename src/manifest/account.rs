//! What the other side counts requests by: the host and what proves who we are.

use super::auth::Proof;
use super::compiled::Compiled;
use super::scope::Frame;
use super::settings::Values;
use crate::record::Fingerprint;
use crate::transport::http::Lane;

/// The same for two connections that have one quota over there; nothing where nobody proves anything.
pub(super) fn account(manifest: &Compiled, values: &Values) -> Option<Fingerprint> {
    let roots = [
        ("settings", &values.settings),
        ("secret", &values.secrets),
        ("text", &manifest.texts),
    ];
    let frame = Frame::new(&roots, &manifest.tables);
    let address = manifest.base.address(&frame)?;
    let address = url::Url::parse(&address).ok()?;
    let host = format!(
        "{}://{}:{}",
        address.scheme(),
        address.host_str()?,
        address.port_or_known_default().unwrap_or(0)
    );
    let mut parts: Vec<Vec<u8>> = vec![host.into_bytes()];
    match &manifest.proof {
        Proof::Fixed(headers) if headers.is_empty() => return None,
        Proof::Fixed(headers) => {
            for (_, template) in headers {
                parts.push(template.eval_text(&frame).ok()?.into_bytes());
            }
        }
        Proof::Signed(signing) => parts.push(signing.who(&frame)?.into_bytes()),
        Proof::Sealed(sealing) => parts.push(sealing.who(&frame)?.into_bytes()),
        Proof::Oauth2(flow) => {
            let credential = flow.credential(values, &manifest.tables)?;
            parts.push(credential.into_bytes());
        }
        Proof::Session(login) => {
            let request = login.first.build(&manifest.base, &frame, Lane::default());
            let request = request.ok()?;
            parts.push(request.url.into_bytes());
            parts.push(format!("{:?}", request.headers).into_bytes());
            parts.push(request.body.unwrap_or_default().to_vec());
        }
    }
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.len().to_le_bytes());
        bytes.extend_from_slice(&part);
    }
    Some(Fingerprint::of_bytes(&bytes))
}
