//! What proves that a webhook's body is ours and new: the headers of Standard Webhooks.
//!
//! Source: the specification at <https://www.standardwebhooks.com>, symmetric signatures, version 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::SigningKey;

/// The value of `webhook-signature`: HMAC-SHA256 of id, seconds and body with dots between them.
pub(super) fn of(key: &SigningKey, id: &str, secs: i64, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("a key may have any length");
    let mac = mac.chain_update(id).chain_update(format!(".{secs}.")).chain_update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signature = of(&SigningKey::new(secret), id, 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
