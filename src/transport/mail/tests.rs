//! A mail server of the test: in the clear, by STARTTLS, and encrypted from the first byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::fault::Class;

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "ours");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn config(authority: &CertifiedIssuer<'static, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let key = key.serialize_der().try_into().unwrap();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.unwrap())
}

fn wrapped(config: &Arc<ServerConfig>, mut tcp: TcpStream) -> Option<Box<dyn Stream>> {
    let mut tls = ServerConnection::new(Arc::clone(config)).ok()?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp).ok()?;
    }
    Some(Box::new(StreamOwned::new(tls, tcp)))
}

/// A line, without its end; nothing when the other side hung up.
fn line(stream: &mut dyn Stream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        match byte[0] {
            b'\n' => return String::from_utf8(line).ok(),
            b'\r' => {}
            other => line.push(other),
        }
    }
}

fn say(stream: &mut dyn Stream, text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).ok()?;
    stream.flush().ok()
}

/// What the server is like.
#[derive(Clone, Copy)]
struct Manners {
    encryption: Encryption,
    /// What it says to a login, and to a letter.
    login: &'static str,
    letter: &'static str,
}

/// Serves one connection; everything it heard.
fn serve(tcp: TcpStream, config: &Arc<ServerConfig>, manners: Manners) -> Option<Vec<String>> {
    let patience = Some(Duration::from_secs(5));
    tcp.set_read_timeout(patience).unwrap();
    let mut heard = Vec::new();
    let copy = tcp.try_clone().ok()?;
    let mut stream: Box<dyn Stream> = match manners.encryption {
        Encryption::Implicit => wrapped(config, tcp)?,
        _ => Box::new(tcp),
    };
    let mut plain = Some(copy);
    let mut is_open = manners.encryption == Encryption::Starttls;
    say(stream.as_mut(), "220 test")?;
    while let Some(text) = line(stream.as_mut()) {
        let word = text.split([' ', ':']).next().unwrap_or_default().to_owned();
        heard.push(text);
        match word.as_str() {
            "EHLO" if is_open => say(stream.as_mut(), "250-test\r\n250 STARTTLS")?,
            "EHLO" => say(stream.as_mut(), "250-test\r\n250 AUTH PLAIN")?,
            "STARTTLS" => {
                say(stream.as_mut(), "220 go")?;
                stream = wrapped(config, plain.take()?)?;
                is_open = false;
            }
            "AUTH" => say(stream.as_mut(), manners.login)?,
            "DATA" => say(stream.as_mut(), "354 go on")?,
            "." => say(stream.as_mut(), manners.letter)?,
            "MAIL" | "RCPT" => say(stream.as_mut(), "250 ok")?,
            "QUIT" => return Some(heard),
            _ => {}
        }
    }
    Some(heard)
}

fn letter() -> Letter {
    Letter {
        subject: "[shop] urgent: paused:erp – größer".to_owned(),
        text: "erp is paused.\n.\nA line with a dot above.\n".to_owned(),
        at: "2026-11-22T10:00:00Z".parse().unwrap(),
        id: "1".to_owned(),
    }
}

/// What came of a letter, and what the server heard.
async fn sent(
    manners: Manners,
    change: impl FnOnce(&mut MailOptions),
) -> (Result<(), Fault>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = config(&authority);
    let server = std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        serve(tcp, &config, manners).unwrap_or_default()
    });
    let login = Some(("crossdock".to_owned(), Secret::new("hunter2")));
    let is_plain = manners.encryption == Encryption::None;
    let mut options = MailOptions {
        host: "localhost".to_owned(),
        port: Some(port),
        encryption: manners.encryption,
        from: "Shop <shop@example.com>".to_owned(),
        to: vec!["me@example.com".to_owned(), "you@example.com".to_owned()],
        login: login.filter(|_| !is_plain),
        ca_file: Some(ca_file),
        timeout: Duration::from_secs(5),
    };
    change(&mut options);
    let result = Mailer::new(&options).unwrap().send(&letter()).await;
    let heard = tokio::task::spawn_blocking(move || server.join().unwrap());
    (result, heard.await.unwrap())
}

const KIND: Manners = Manners {
    encryption: Encryption::Starttls,
    login: "235 welcome",
    letter: "250 taken",
};

#[tokio::test]
async fn letters_are_handed_over_however_the_server_is_reached() {
    for encryption in [Encryption::None, Encryption::Starttls, Encryption::Implicit] {
        let manners = Manners { encryption, ..KIND };
        let (result, heard) = sent(manners, |_| {}).await;
        assert_eq!(result, Ok(()), "{encryption:?}: {heard:?}");
        for part in [
            "MAIL FROM:<shop@example.com>",
            "RCPT TO:<me@example.com>",
            "RCPT TO:<you@example.com>",
            "Date: Sun, 22 Nov 2026 10:00:00 +0000",
            "Message-ID: <1@example.com>",
            "..",
        ] {
            let has = heard.iter().any(|line| line.starts_with(part));
            assert!(has, "{encryption:?}: {part} is not in {heard:#?}");
        }
        let logged_in = heard.iter().any(|line| line.starts_with("AUTH PLAIN"));
        assert_eq!(logged_in, encryption != Encryption::None);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_what_the_server_said() {
    let refusing = Manners {
        login: "535 no such crossdock",
        ..KIND
    };
    let full = Manners {
        letter: "452 you@example.com is full",
        ..KIND
    };
    let never = Manners {
        letter: "554 you@example.com is unknown",
        ..KIND
    };
    let unencrypted = Manners {
        encryption: Encryption::None,
        ..KIND
    };
    for (manners, class, code) in [
        (refusing, Class::Auth, "mail_login"),
        (full, Class::Retry, "mail_later"),
        (never, Class::Reject, "mail_refused"),
    ] {
        let (result, heard) = sent(manners, |_| {}).await;
        let fault = result.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_ref()),
            (class, code),
            "{heard:?}"
        );
        assert!(!fault.message.contains("crossdock"), "{fault}");
        assert!(!fault.message.contains("you@"), "{fault}");
    }
    // A certificate that nobody vouches for; a server that cannot encrypt is told nothing.
    let (result, _) = sent(KIND, |options| options.ca_file = None).await;
    assert_eq!(result.unwrap_err().code, "mail_tls");
    let must = |options: &mut MailOptions| options.encryption = Encryption::Starttls;
    let (result, heard) = sent(unencrypted, must).await;
    assert!(result.is_err());
    assert_eq!(heard.len(), 1, "{heard:?}");
    let options = MailOptions {
        host: "127.0.0.1".to_owned(),
        port: Some(1),
        encryption: Encryption::None,
        from: "a@b.example".to_owned(),
        to: vec!["a@b.example".to_owned()],
        login: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
    };
    let fault = Mailer::new(&options).unwrap().send(&letter()).await;
    assert_eq!(fault.unwrap_err().code, "mail_unreachable");
    let wrong = MailOptions {
        to: vec!["nobody".to_owned()],
        ..options
    };
    assert_eq!(Mailer::new(&wrong).unwrap_err().code, "mail_setup");
}
