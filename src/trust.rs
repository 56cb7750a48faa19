//! Whom a TLS server has to be: one that an authority of the system or of a file vouches for, or the very holder of a
//! certificate in that file.
//!
//! The second is what `openssl req -x509` makes and people name in a `ca_file`: a certificate that signs itself and
//! says that it signs others (CA:TRUE), which nobody takes for that of a server by the rules of the web (webpki).
//! Whoever named it has vouched for it; its name and its time have to be right all the same. What is asked over the
//! connection is not known here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// The certificates of a file.
///
/// # Errors
/// Where one of them is not whole.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// What an HTTP client speaks TLS with that trusts these beside the system's authorities.
///
/// # Errors
/// Where there is none to trust.
pub fn client(named: &[CertificateDer<'static>]) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    // Some of the system's are not good everywhere; those of the file are looked at one by one as well.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(named.iter().cloned());
    let webpki =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
    let verifier = Verifier { webpki, named: named.to_vec() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// See the module.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        let judged = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if judged.is_ok() || !self.named.contains(end_entity) {
            return judged;
        }
        // Its time is looked at before what it is for, so nothing else stands in front of that.
        if let Err(Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        )) = judged
        {
            return judged;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::reason;

    /// Such as `openssl req -x509` makes, good from the first second of one year to that of another.
    fn made(name: &str, is_ca: bool, years: (i32, i32)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// 2026-01-05
    const NOW: u64 = 1_767_571_200;

    fn judge(named: &CertificateDer<'static>, shown: &CertificateDer<'static>) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(named.clone()).unwrap();
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = Verifier { webpki: webpki.build().unwrap(), named: vec![named.clone()] };
        let name = ServerName::try_from("t.example").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
        match verifier.verify_server_cert(shown, &[], &name, &[], now) {
            Ok(_) => "good".to_owned(),
            Err(error) => reason::of(&error),
        }
    }

    #[test]
    fn a_certificate_that_was_named_is_good_for_its_name_and_time_and_no_other_is() {
        for is_ca in [true, false] {
            let one = made("t.example", is_ca, (2020, 2040));
            assert_eq!(judge(&one, &one), "good");
            let elsewhere = made("u.example", is_ca, (2020, 2040));
            let said = judge(&elsewhere, &elsewhere);
            assert_eq!(said, "its certificate is for another name than t.example");
            let old = made("t.example", is_ca, (2020, 2025));
            assert_eq!(judge(&old, &old), "its certificate has expired");
            let early = made("t.example", is_ca, (2030, 2040));
            assert_eq!(judge(&early, &early), "its certificate is not valid yet");
        }
        let (one, another) =
            (made("t.example", false, (2020, 2040)), made("t.example", false, (2020, 2040)));
        assert!(judge(&one, &another).contains("not signed by an authority that is trusted"));
        let another = made("t.example", true, (2020, 2040));
        let said = judge(&one, &another);
        assert!(said.starts_with("its certificate is made to sign others (CA:TRUE)"), "{said}");
    }
}
