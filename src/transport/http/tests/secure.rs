//! TLS: a private authority, and certificates that must not be believed.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::RealClock;
use super::server::{Server, answer, reply};
use crate::fault::{Class, Effect};
use crate::transport::http::{Client, HttpClient, HttpOptions, HttpRequest};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server for one connection whose certificate says `name`.
fn server(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Server {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let whole = reply("200 OK", "", b"in private");
    Server::wrapping(vec![answer(whole)], move |mut tcp| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).ok()?;
        }
        Some(Box::new(StreamOwned::new(tls, tcp)))
    })
}

#[tokio::test]
async fn a_private_authority_is_believed_when_configured_and_only_then() {
    let (ours, other) = (authority("ours"), authority("other"));
    let directory = tempfile::tempdir().unwrap();
    // The machine's own authorities do not know either; ours is known from a file.
    let cases = [
        (&ours, "localhost", None),
        (&other, "localhost", Some("UnknownIssuer")),
        (&ours, "elsewhere.example", Some("elsewhere.example")),
    ];
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, ours.pem()).unwrap();
    for (issuer, name, refusal) in cases {
        let server = server(issuer, name);
        let options = HttpOptions {
            ca_file: Some(ca_file.clone()),
            timeout: Duration::from_secs(5),
            ..HttpOptions::default()
        };
        let client = Client::new(options, RealClock::start()).unwrap();
        let url = format!("https://localhost:{}/orders", server.address.port());
        let result = client.send(HttpRequest::new("GET", url)).await;
        match refusal {
            None => assert_eq!(result.unwrap().body, "in private"),
            Some(expect) => {
                let fault = result.unwrap_err();
                assert_eq!((fault.class, &*fault.code), (Class::Retry, "http_tls"));
                assert_eq!(fault.effect, Effect::None);
                assert!(fault.message.contains(expect), "{fault}");
                assert!(fault.message.contains("`ca_file`"), "{fault}");
            }
        }
        server.finish().await;
    }
}
