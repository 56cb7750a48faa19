//! The courier that hands a mail to the relay.
//!
//! One connection per recipient, so that each is judged alone. Nothing is sent in clear text unless
//! the relay was written `smtp+plain://`, and a password never. Until MAIL FROM a relay judges us,
//! not the mail: whatever it refuses there may be mended on either side, so it is tried again, as
//! Postfix does by default (`smtp_sasl_auth_soft_bounce`). From MAIL FROM on, 4xx means later and
//! 5xx never.

use std::error::Error as _;
use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Address;
use lettre::message::header::{ContentType, Date, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, MultiPartKind, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use super::fingerprint;
use super::illustration::Illustrations;
use super::mail::{self, Style};
use super::message::{Message, NoticeKind};
use super::outbox::Outcome;
use super::reason::{self, later, refused};
use super::redact::Redact;
use crate::config::{Email, Relay, RelaySecurity};
use crate::time::Timestamp;

/// Hands mails to one relay.
pub(super) struct EmailCourier {
    email: Email,
    redact: Redact,
    /// Made when first needed, since that reads the system's certificates and may fail.
    tls: OnceLock<TlsParameters>,
}

/// For one of the relay's addresses, so that a dead one leaves time for the next.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// For the farewell, when all is said.
const QUIT_PATIENCE: Duration = Duration::from_secs(2);

/// The last second of the year 9999; a mail has no form for later ones.
const DATE_SECS_MAX: i64 = 253_402_300_799;

/// How far a conversation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Greeting,
    StartTls,
    Login,
    Sender,
    Recipient,
    Content,
}

impl EmailCourier {
    pub(super) fn new(email: &Email) -> Self {
        let mut redact = Redact::default();
        if let Some(password) = &email.password {
            redact.add(password.expose());
        }
        Self { email: email.clone(), redact, tls: OnceLock::new() }
    }

    /// One attempt to reach one address.
    pub(super) async fn send(
        &self,
        message: &Message,
        beside: &Illustrations,
        address: &str,
    ) -> Outcome {
        let Some(relay) = &self.email.server else { return refused("no mail relay is configured") };
        let Ok(to) = address.parse::<Mailbox>() else {
            return refused("the recipient's address cannot be read");
        };
        let Ok(from) = self.email.from.parse::<Mailbox>() else {
            return refused("the sender's address cannot be read");
        };
        let (sender, recipient) = (from.email.clone(), to.email.clone());
        let content = match write(message, beside, &from, to) {
            Ok(content) => content,
            Err(error) => return refused(format!("cannot write the mail: {}", reason::of(&error))),
        };
        match self.hand_over(relay, sender, recipient, &content).await {
            Ok(()) => Outcome::Delivered,
            Err(outcome) => outcome,
        }
    }

    /// Goes as far as a mail could be sent, and takes leave.
    pub(super) async fn greet(&self) -> Outcome {
        let Some(relay) = &self.email.server else { return refused("no mail relay is configured") };
        let Ok(from) = self.email.from.parse::<Mailbox>() else {
            return refused("the sender's address cannot be read");
        };
        match self.connect(relay, &from.email).await {
            Ok(mut connection) => {
                let _ = tokio::time::timeout(QUIT_PATIENCE, connection.quit()).await;
                Outcome::Delivered
            }
            Err(outcome) => outcome,
        }
    }

    async fn hand_over(
        &self,
        relay: &Relay,
        sender: Address,
        recipient: Address,
        content: &[u8],
    ) -> Result<(), Outcome> {
        let mut connection = self.connect(relay, &sender).await?;
        let result = self.converse(&mut connection, relay, sender, recipient, content).await;
        // By now the mail is with the relay or refused. Waiting for the farewell may not turn the
        // one into a failure, which would send the mail twice, nor hide the reason for the other.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(QUIT_PATIENCE, connection.quit()).await;
        });
        result
    }

    async fn converse(
        &self,
        connection: &mut AsyncSmtpConnection,
        relay: &Relay,
        sender: Address,
        recipient: Address,
        content: &[u8],
    ) -> Result<(), Outcome> {
        let failed = |step| move |error: Error| self.judge(relay, step, &error);
        let mut parameters = Vec::new();
        if !sender.to_string().is_ascii() || !recipient.to_string().is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let relay = shown(relay);
                return Err(refused(format!(
                    "{relay} takes only addresses in ASCII (no SMTPUTF8)"
                )));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = MailFrom::new(Some(sender), parameters);
        connection.command(from).await.map_err(failed(Step::Sender))?;
        let to = Rcpt::new(recipient, Vec::new());
        connection.command(to).await.map_err(failed(Step::Recipient))?;
        connection.command(Data).await.map_err(failed(Step::Content))?;
        connection.message(content).await.map_err(failed(Step::Content))?;
        Ok(())
    }

    /// A connection on which MAIL FROM may be said: private and logged in, where that was asked for.
    async fn connect(
        &self,
        relay: &Relay,
        sender: &Address,
    ) -> Result<AsyncSmtpConnection, Outcome> {
        let failed = |step| move |error: Error| self.judge(relay, step, &error);
        let hello = ClientId::Domain(host_of(sender).to_owned());
        let tls = match relay.security {
            RelaySecurity::Plain => None,
            RelaySecurity::StartTls | RelaySecurity::Tls => {
                Some(self.tls(relay).map_err(failed(Step::StartTls))?)
            }
        };
        let implicit = tls.filter(|_| relay.security == RelaySecurity::Tls).cloned();
        let place = (relay.host.as_str(), relay.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            place,
            Some(CONNECT_PATIENCE),
            &hello,
            implicit,
            None,
        )
        .await
        .map_err(failed(Step::Greeting))?;
        if let (RelaySecurity::StartTls, Some(tls)) = (relay.security, tls) {
            if !connection.can_starttls() {
                return Err(later(format!(
                    "{} does not offer STARTTLS; a relay without it has to be written `smtp+plain://`",
                    shown(relay)
                )));
            }
            connection.starttls(tls.clone(), &hello).await.map_err(failed(Step::StartTls))?;
        }
        if let Some(password) = &self.email.password
            && !self.email.username.is_empty()
            && connection.is_encrypted()
        {
            let (username, password) = (self.email.username.clone(), password.expose().to_owned());
            let credentials = Credentials::new(username, password);
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(failed(Step::Login))?;
        }
        Ok(connection)
    }

    fn tls(&self, relay: &Relay) -> Result<&TlsParameters, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let mut builder = TlsParametersBuilder::new(relay.host.clone());
        if let Some(pem) = &self.email.ca_pem {
            builder = builder.add_root_certificate(Certificate::from_pem(pem.text.as_bytes())?);
        }
        let tls = builder.build()?;
        Ok(self.tls.get_or_init(|| tls))
    }

    fn judge(&self, relay: &Relay, step: Step, error: &Error) -> Outcome {
        let relay = shown(relay);
        let Some(code) = error.status() else {
            let cause = match reason::of(error) {
                cause if !error.is_response() => cause,
                // lettre's words for an end where an answer should be.
                cause if cause == "incomplete response" => {
                    "it closed the connection without an answer".to_owned()
                }
                _ => "its answer is not SMTP".to_owned(),
            };
            let cause = self.redact.cause(cause, "the conversation failed");
            return later(format!("{relay}: {cause}"));
        };
        let answer = error.source().map(ToString::to_string).unwrap_or_default();
        let quote = match step {
            // A relay may answer a login with the line that it did not understand.
            Step::Login => enhanced_code(&answer).map(str::to_owned),
            _ => self.redact.quote(&answer),
        };
        let reason = format!("{relay} {}: {code} {}", step.refusal(), quote.unwrap_or_default());
        let reason = reason.trim_end().to_owned();
        if error.is_permanent() && step >= Step::Sender { refused(reason) } else { later(reason) }
    }
}

impl Step {
    fn refusal(self) -> &'static str {
        match self {
            Self::Greeting => "turned the connection away",
            Self::StartTls => "did not begin TLS",
            Self::Login => "did not accept the user name and password",
            Self::Sender => "refused the sender",
            Self::Recipient => "refused the recipient",
            Self::Content => "refused the mail",
        }
    }
}

impl fmt::Debug for EmailCourier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmailCourier").field(&self.email).finish()
    }
}

fn shown(relay: &Relay) -> String {
    format!("{}:{}", relay.host, relay.port)
}

/// The code of RFC 3463 at the beginning of an answer: `5.7.8`.
fn enhanced_code(answer: &str) -> Option<&str> {
    let word = answer.split_whitespace().next()?;
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    (word.split('.').count() == 3 && word.split('.').all(is_number)).then_some(word)
}

/// The sender's domain: what we call ourselves, and what makes our ids unique. Ids and EHLO have no
/// form for other than ASCII characters.
fn host_of(sender: &Address) -> &str {
    if sender.domain().is_ascii() { sender.domain() } else { "localhost" }
}

/// The mail as it goes over the wire. In every attempt it has the same id and says the same; its pictures
/// are as they are then.
fn write(
    message: &Message,
    beside: &Illustrations,
    from: &Mailbox,
    to: Mailbox,
) -> Result<Vec<u8>, lettre::error::Error> {
    let host = host_of(&from.email);
    let recipient = fingerprint::of([to.email.as_ref()]);
    let boundary = fingerprint::of([&*message.id, to.email.as_ref()]);
    let picture_id = format!("{}@{host}", message.id);
    let style = Style { when: &Timestamp::in_system_zone, picture_id: &picture_id };
    let mail = mail::compose_with(message, beside, &style);
    let secs = u64::try_from(message.at.as_secs().clamp(0, DATE_SECS_MAX)).unwrap_or(0);
    let mut builder = lettre::Message::builder()
        .from(from.clone())
        .to(to)
        .subject(mail.subject)
        .header(Date::new(UNIX_EPOCH + Duration::from_secs(secs)))
        .raw_header(verbatim("Message-ID", format!("<{}.{recipient:016x}@{host}>", message.id)))
        .raw_header(verbatim("Auto-Submitted", "auto-generated".to_owned()))
        .raw_header(verbatim("X-Auto-Response-Suppress", "All".to_owned()));
    if let Some(first) = message.notices.first() {
        // No mail has this id: it is the root under which the mails of an incident meet, whichever
        // of them a reader still has.
        let root = format!("<incident-{}@{host}>", first.incident);
        if first.kind != NoticeKind::Firing {
            builder = builder.raw_header(verbatim("In-Reply-To", root.clone()));
        }
        builder = builder.raw_header(verbatim("References", root));
    }
    let parts = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(format!("tallyd-{boundary:016x}"))
        .singlepart(part(ContentType::TEXT_PLAIN, mail.text));
    let page = part(ContentType::TEXT_HTML, mail.html);
    let parts = if mail.pictures.is_empty() {
        parts.singlepart(page)
    } else {
        parts.multipart(with_pictures(page, mail.pictures, boundary))
    };
    Ok(builder.multipart(parts)?.formatted())
}

/// The page together with the pictures that it shows, which no other part has.
fn with_pictures(page: SinglePart, pictures: Vec<(String, Vec<u8>)>, boundary: u64) -> MultiPart {
    let png: ContentType = "image/png".parse().expect("this is a content type");
    let related = MultiPart::builder()
        .kind(MultiPartKind::Related)
        .boundary(format!("tallyd-related-{boundary:016x}"))
        .singlepart(page);
    pictures.into_iter().fold(related, |related, (id, bytes)| {
        let name = format!("{}.png", id.split('.').next().unwrap_or("chart"));
        let picture = Attachment::new_inline_with_name(id, name).body(bytes, png.clone());
        related.singlepart(picture)
    })
}

fn part(content_type: ContentType, body: String) -> SinglePart {
    SinglePart::builder().header(content_type).body(body)
}

/// A header that is written as it stands: its text is ours, or ids of letters, digits and `-`.
/// lettre's encoder would turn a long id into an encoded word, which an id may not be.
fn verbatim(name: &'static str, text: String) -> HeaderValue {
    debug_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{name}: {text:?}");
    HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), text.clone(), text)
}

#[cfg(test)]
mod tests;
