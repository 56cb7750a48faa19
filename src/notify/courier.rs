//! Hands each delivery to the courier for its recipient, and cuts off whoever takes too long.
//!
//! Couriers keep nothing between two attempts: no connection, no order, no count. They may be used
//! by many tasks at once. What an outcome means is the outbox's to say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::email::EmailCourier;
use super::illustration::Illustrations;
use super::outbox::{Delivery, Outcome, Recipient};
use super::reason;
use super::webhook::WebhookCourier;
use crate::config::Config;
use crate::limits;
use crate::time::Timestamp;

/// One courier for mail, and one for each contact with a webhook.
#[derive(Debug)]
pub struct Couriers {
    email: EmailCourier,
    webhooks: BTreeMap<String, WebhookCourier>,
    /// Contacts that are called while all is well.
    heartbeat: Vec<String>,
    public_url: String,
    /// How long one attempt may take.
    patience: Duration,
}

impl Couriers {
    /// Couriers for the contacts of a configuration. Nothing is opened before the first delivery,
    /// so a machine without certificates or network still starts.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let webhooks = config.contacts.iter().filter_map(|contact| {
            let webhook = contact.webhook.as_ref()?;
            Some((contact.name.clone(), WebhookCourier::new(webhook)))
        });
        Self {
            email: EmailCourier::new(&config.email),
            webhooks: webhooks.collect(),
            heartbeat: config.notify.heartbeat.clone(),
            public_url: config.notify.public_url.clone(),
            patience: Duration::from_secs(limits::COURIER_SECS),
        }
    }

    /// Makes one attempt, at most [`limits::COURIER_SECS`] long. It must run inside a tokio runtime
    /// with I/O and time. `now` is the time of this attempt, and `beside` what a mail shows with the message.
    pub async fn deliver(
        &self,
        delivery: &Delivery,
        beside: &Illustrations,
        now: Timestamp,
    ) -> Outcome {
        let message = &delivery.message;
        let attempt = async {
            match &delivery.recipient {
                Recipient::Email(address) => self.email.send(message, beside, address).await,
                Recipient::Webhook(contact) => match self.webhooks.get(contact) {
                    Some(webhook) => webhook.send(message, &delivery.progress, now).await,
                    None => reason::refused(format!("the contact `{contact}` has no webhook")),
                },
            }
        };
        self.within_patience(attempt).await
    }

    /// Whether the mail relay takes a connection, TLS and the password; no mail is sent.
    ///
    /// # Errors
    /// Why not, in words that hold no secret.
    pub async fn greet_relay(&self) -> Result<(), String> {
        match self.within_patience(self.email.greet()).await {
            Outcome::Delivered => Ok(()),
            Outcome::Later { reason, .. } | Outcome::Refused { reason } => Err(reason),
        }
    }

    /// Contacts that are to be called every minute while all is well.
    pub fn heartbeats(&self) -> impl Iterator<Item = &str> {
        self.heartbeat.iter().map(String::as_str)
    }

    /// Gives a contact a sign of life, once.
    pub async fn beat(&self, contact: &str, now: Timestamp) -> Outcome {
        let attempt = async {
            match self.webhooks.get(contact) {
                Some(webhook) => webhook.beat(contact, &self.public_url, now).await,
                None => reason::refused(format!("the contact `{contact}` has no webhook")),
            }
        };
        self.within_patience(attempt).await
    }

    async fn within_patience(&self, attempt: impl Future<Output = Outcome>) -> Outcome {
        tokio::time::timeout(self.patience, attempt).await.unwrap_or_else(|_| {
            reason::later(format!("no answer within {} s", self.patience.as_secs_f64()))
        })
    }

    /// The same couriers, in more of a hurry, or less: [`limits::COURIER_SECS`] is what holds else.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// A future that is handed to a task has to be `Send`, and the couriers are shared.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Couriers>();
};
