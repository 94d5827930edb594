//! Mail to people, by SMTP. The only user of lettre; TLS is the same rustls and aws-lc as for HTTP.
//!
//! One connection for each message: they are rare. What the server says is never repeated in a fault: it
//! likes to name addresses.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::fault::Fault;
use crate::secret::Secret;

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// From the first reply on; refused where the server cannot.
    Starttls,
    /// From the first byte on.
    Implicit,
    /// Not at all.
    None,
}

/// How a mail server is reached, and who writes to whom.
#[derive(Debug, Clone)]
pub struct MailOptions {
    /// Its name.
    pub host: String,
    /// Its port; the usual one for the encryption when absent.
    pub port: Option<u16>,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// Who writes.
    pub from: String,
    /// Who is written to.
    pub to: Vec<String>,
    /// Who logs in, and with which password.
    pub login: Option<(String, Secret)>,
    /// PEM file with the certificates of further authorities.
    pub ca_file: Option<PathBuf>,
    /// For each answer of the server.
    pub timeout: Duration,
}

/// One text to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// When it was written, by our clock.
    pub at: Timestamp,
    /// Tells it from every other letter.
    pub id: String,
}

/// Sends letters.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").finish_non_exhaustive()
    }
}

impl Mailer {
    /// Checks the options and reads `ca_file`; touches no network.
    ///
    /// # Errors
    /// `Config` with `mail_setup`: an address that is none, a certificate file that cannot be read.
    pub fn new(options: &MailOptions) -> Result<Self, Fault> {
        let mailbox = |text: &str| -> Result<Mailbox, Fault> {
            text.parse()
                .map_err(|_| setup("an address in `from` or `to` is no mail address"))
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&options.host)
            .timeout(Some(options.timeout))
            .hello_name(ClientId::Domain("localhost".to_owned()))
            .port(options.port.unwrap_or(match options.encryption {
                Encryption::Starttls => 587,
                Encryption::Implicit => 465,
                Encryption::None => 25,
            }));
        builder = match options.encryption {
            Encryption::Starttls => builder.tls(Tls::Required(tls(options)?)),
            Encryption::Implicit => builder.tls(Tls::Wrapper(tls(options)?)),
            Encryption::None => builder,
        };
        if let Some((user, password)) = &options.login {
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from: mailbox(&options.from)?,
            to: options
                .to
                .iter()
                .map(|to| mailbox(to))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Hands a letter over to the server.
    ///
    /// # Errors
    /// `Retry` when the server is not there or says "later"; `Auth` when it refuses the login; `Reject` when
    /// it refuses the letter.
    pub async fn send(&self, letter: &Letter) -> Result<(), Fault> {
        let message = self.message(letter)?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|error| fault(&error))
    }

    fn message(&self, letter: &Letter) -> Result<Message, Fault> {
        let to = self.to.iter().cloned();
        let domain = self.from.email.domain();
        to.fold(Message::builder(), MessageBuilder::to)
            .from(self.from.clone())
            .subject(letter.subject.clone())
            .date(SystemTime::from(letter.at))
            .message_id(Some(format!("<{}@{domain}>", letter.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|_| setup("a letter could not be written"))
    }
}

fn tls(options: &MailOptions) -> Result<TlsParameters, Fault> {
    let mut builder = TlsParameters::builder(options.host.clone());
    if let Some(path) = &options.ca_file {
        let shown = path.display();
        let pem = std::fs::read(path)
            .map_err(|error| setup(&format!("certificate file {shown}: {error}")))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|_| setup(&format!("certificate file {shown} holds no certificate")))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|_| setup("TLS cannot be set up: install ca-certificates or set `ca_file`"))
}

fn setup(message: &str) -> Fault {
    Fault::config("mail_setup", message)
}

fn fault(error: &SmtpError) -> Fault {
    let code = error.status().map(u16::from);
    match code {
        Some(code @ (530 | 534 | 535 | 538)) => {
            let message = format!("the mail server refuses the login ({code})");
            Fault::auth("mail_login", message)
        }
        Some(code) if error.is_permanent() => {
            let message = format!("the mail server refuses the letter ({code})");
            Fault::reject("mail_refused", message)
        }
        Some(code) => Fault::retry("mail_later", format!("the mail server says later ({code})")),
        None if error.is_timeout() => {
            Fault::retry("mail_timeout", "the mail server does not answer in time")
        }
        None if error.is_tls() || failed_in_handshake(error) => {
            let message = "the encrypted connection to the mail server failed: check `tls`, its \
                           certificate and `ca_file`";
            Fault::retry("mail_tls", message)
        }
        None => Fault::retry("mail_unreachable", "the mail server cannot be reached"),
    }
}

/// rustls reports what it does not believe as invalid data.
fn failed_in_handshake(error: &SmtpError) -> bool {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests;
