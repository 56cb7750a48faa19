//! Whom a TLS server has to be: one that an authority of the system or of a file vouches for, or the very holder of a
//! certificate in that file.
//!
//! The second is what `openssl req -x509` makes and people name in a `ca_file`: a certificate that signs itself and
//! says that it signs others (CA:TRUE), which nobody takes for that of a server by the rules of the web (webpki).
//! Whoever named it has vouched for it; its name and its time have to be right all the same. One that does not say so
//! vouches for itself alone, and signs nobody else. What is asked over the connection is not known here.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
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
    let verifier = Verifier::new(roots, named, Arc::clone(&provider))?;
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
    /// Each of the file, with what judges it alone.
    named: Vec<(CertificateDer<'static>, Arc<WebPkiServerVerifier>)>,
    /// What judges all others; `None` where there is no authority.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// One that believes the authorities in `roots`, and those that are named.
    fn new(
        mut roots: RootCertStore,
        named: &[CertificateDer<'static>],
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let alone = named.iter().filter_map(|one| {
            let mut root = RootCertStore::empty();
            // What cannot be read helps nobody, and hinders none.
            root.add(one.clone()).ok()?;
            Some(webpki(root, &provider).map(|alone| (one.clone(), alone)))
        });
        let named = alone.collect::<Result<Vec<_>, Error>>()?;
        for (one, alone) in &named {
            if signs_others(one, alone) {
                roots.add(one.clone())?;
            }
        }
        let authorities = (!roots.is_empty()).then(|| webpki(roots, &provider)).transpose()?;
        Ok(Self { named, authorities, provider })
    }
}

fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// Whether a certificate is that of an authority: as one of a server webpki refuses such. Those of the first version
/// of X.509 do not tell, and it refuses them too.
fn signs_others(one: &CertificateDer<'_>, alone: &WebPkiServerVerifier) -> bool {
    use CertificateError::{
        BadSignature, InvalidPurpose, InvalidPurposeContext, NotValidForName,
        NotValidForNameContext, NotValidYetContext, UnknownIssuer,
    };
    let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let judge = |now| alone.verify_server_cert(one, &[], &nobody, &[], now);
    // When it is good matters at each handshake, and not here.
    let judged = match judge(UnixTime::since_unix_epoch(Duration::ZERO)) {
        Err(Error::InvalidCertificate(NotValidYetContext { not_before, .. })) => judge(not_before),
        judged => judged,
    };
    !matches!(
        judged,
        Ok(_)
            | Err(Error::InvalidCertificate(
                NotValidForName
                    | NotValidForNameContext { .. }
                    | InvalidPurpose
                    | InvalidPurposeContext { .. }
                    | UnknownIssuer
                    | BadSignature
            ))
    )
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
        let judge = |judge: &WebPkiServerVerifier| {
            judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let Some((_, alone)) = self.named.iter().find(|(one, _)| one == end_entity) else {
            let nobody = || Err(CertificateError::UnknownIssuer.into());
            return self.authorities.as_deref().map_or_else(nobody, judge);
        };
        match judge(alone) {
            // That it signs others, or who has signed it. Its time was looked at before either.
            Err(Error::InvalidCertificate(
                CertificateError::Other(_)
                | CertificateError::UnknownIssuer
                | CertificateError::BadSignature,
            )) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::reason;

    /// Such as `openssl req -x509` makes, good from the first second of one year to that of another.
    fn made(name: &str, is_ca: bool, years: (i32, i32)) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params(name, is_ca, years).self_signed(&key).unwrap().der().clone()
    }

    fn params(name: &str, is_ca: bool, years: (i32, i32)) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params
    }

    /// A certificate, and one for `t.example` that is signed with its key.
    fn signed(
        name: &str,
        is_ca: bool,
        years: (i32, i32),
    ) -> (CertificateDer<'static>, CertificateDer<'static>) {
        let (key, child) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = params(name, is_ca, years);
        let parent = params.self_signed(&key).unwrap().der().clone();
        let issuer = rcgen::Issuer::new(params, key);
        let child_params = self::params("t.example", false, (2020, 2040));
        (parent, child_params.signed_by(&child, &issuer).unwrap().der().clone())
    }

    /// 2026-01-05
    const NOW: u64 = 1_767_571_200;

    fn judge(named: &CertificateDer<'static>, shown: &CertificateDer<'static>) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let named = std::slice::from_ref(named);
        let mut roots = RootCertStore::empty();
        roots.add(made("authority.example", true, (2020, 2040))).unwrap();
        let verifier = Verifier::new(roots, named, provider).unwrap();
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

    #[test]
    fn only_an_authority_signs_others() {
        for (name, years) in
            [("t.example", (2020, 2040)), ("u.example", (2020, 2040)), ("t.example", (2020, 2025))]
        {
            let (authority, child) = signed(name, true, years);
            assert_eq!(judge(&authority, &child), "good", "its own time and name are no matter");
            let (leaf, child) = signed(name, false, years);
            let said = judge(&leaf, &child);
            assert!(said.contains("not signed by an authority that is trusted"), "{said}");
        }
        // One that another has signed is believed by itself, where that one is not known.
        let (_, child) = signed("u.example", true, (2020, 2040));
        assert_eq!(judge(&child, &child), "good");
    }
}
