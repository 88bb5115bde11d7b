//! Whom we trust and what we show: the system's authorities, and the certificates that are configured for
//! a registry.
//!
//! Authorities of a registry are trusted wherever that registry sends us: to its token service, and along
//! its redirects. Its client certificate is shown to its own host alone.

use std::sync::OnceLock;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::endpoint::Endpoint;
use super::error::Error;
use crate::config::certs::{Certs, CertsError, HostCerts, Pem};

/// What is configured, and what of it was read.
#[derive(Debug)]
pub(super) struct Tls {
    certs: Certs,
    /// The system's certificate authorities.
    system: OnceLock<RootCerts>,
}

impl Tls {
    pub(super) fn new(certs: Certs) -> Self {
        Self {
            certs,
            system: OnceLock::new(),
        }
    }

    /// What is configured for talking to `host` on behalf of `registry`.
    pub(super) fn certs(&self, registry: &str, host: &str) -> Result<HostCerts, Error> {
        let own = self.certs.of_registry(registry).map_err(Box::new)?;
        if Endpoint::of(registry).authority == host {
            return Ok(own);
        }
        let theirs = self.certs.of_host(host).map_err(Box::new)?;
        Ok(HostCerts {
            roots: own.roots.into_iter().chain(theirs.roots).collect(),
            client: theirs.client,
        })
    }

    /// The settings of a connection.
    pub(super) fn config(&self, verify: bool, certs: &HostCerts) -> Result<TlsConfig, Error> {
        let client = match &certs.client {
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                Some(ClientCert::new_with_certs(&chain, private_key(key)?))
            }
            None => None,
        };
        let builder = TlsConfig::builder().client_cert(client);
        Ok(match verify {
            true => builder.root_certs(self.roots(&certs.roots)?),
            false => builder.disable_verification(true),
        }
        .build())
    }

    fn roots(&self, more: &[Pem]) -> Result<RootCerts, Error> {
        let system = self.system.get_or_init(system_roots);
        if more.is_empty() {
            return Ok(system.clone());
        }
        // Mozilla's list, which stands in for a system without one, is not made of certificates, and
        // cannot be added to: a site's own authorities then stand alone.
        let mut all = match system {
            RootCerts::Specific(certs) => certs.to_vec(),
            _ => Vec::new(),
        };
        for pem in more {
            all.extend(certificates(pem)?);
        }
        Ok(RootCerts::from(all))
    }

    /// Whether the system's authorities were needed.
    #[cfg(test)]
    pub(super) fn was_used(&self) -> bool {
        self.system.get().is_some()
    }
}

/// The system's certificate authorities, so that a site's own are accepted; Mozilla's list where the
/// system has none.
fn system_roots() -> RootCerts {
    let native = rustls_native_certs::load_native_certs();
    for e in &native.errors {
        log::debug!("certificate authorities: {e}");
    }
    if native.certs.is_empty() {
        return RootCerts::WebPki;
    }
    let certs: Vec<Certificate<'static>> = native
        .certs
        .iter()
        .map(|c| Certificate::from_der(c).to_owned())
        .collect();
    RootCerts::Specific(certs.into())
}

fn wrong(pem: &Pem, what: &'static str) -> Error {
    Box::new(CertsError::Content {
        path: pem.path.clone(),
        what,
    })
    .into()
}

/// All certificates of a file; there must be one.
fn certificates(pem: &Pem) -> Result<Vec<Certificate<'static>>, Error> {
    let mut all = Vec::new();
    for item in parse_pem(&pem.bytes) {
        match item {
            Ok(PemItem::Certificate(cert)) => all.push(cert),
            Ok(_) => {}
            Err(_) => return Err(wrong(pem, "certificate")),
        }
    }
    match all.is_empty() {
        true => Err(wrong(pem, "certificate")),
        false => Ok(all),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKey<'static>, Error> {
    PrivateKey::from_pem(&pem.bytes).map_err(|_| wrong(pem, "private key without passphrase"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(text: &str) -> Pem {
        Pem {
            path: "x.crt".into(),
            bytes: text.into(),
        }
    }

    #[test]
    fn what_holds_no_certificate_is_an_error() {
        let tls = Tls::new(Certs::none());
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        for text in [
            "",
            "no",
            "-----BEGIN CERTIFICATE-----\n***\n-----END CERTIFICATE-----\n",
            key,
        ] {
            let certs = HostCerts {
                roots: vec![pem(text)],
                client: None,
            };
            let e = tls.config(true, &certs).unwrap_err();
            assert!(e.to_string().contains("x.crt"), "{text}: {e}");
            let certs = HostCerts {
                roots: Vec::new(),
                client: Some((pem(text), pem(key))),
            };
            assert!(tls.config(false, &certs).is_err(), "{text}");
        }
    }

    #[test]
    fn trust_goes_along_and_identity_stays() {
        let tmp = tempfile::tempdir().unwrap();
        for file in [
            "q.io/ca.crt",
            "q.io/me.cert",
            "q.io/me.key",
            "cdn.io/cdn.crt",
        ] {
            let path = tmp.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let seen = |certs: Certs, host: &str| {
            let certs = Tls::new(certs).certs("q.io", host).unwrap();
            let names = certs
                .roots
                .iter()
                .map(|p| p.path.file_name().unwrap().to_owned());
            let names: Vec<_> = names.map(|n| n.into_string().unwrap()).collect();
            (names.join(" "), certs.client.is_some())
        };
        let by_host = || Certs::ByHost(vec![tmp.path().to_owned()]);
        assert_eq!(seen(by_host(), "q.io"), ("ca.crt".into(), true));
        assert_eq!(seen(by_host(), "cdn.io"), ("ca.crt cdn.crt".into(), false));
        // Another port is another host.
        assert_eq!(seen(by_host(), "q.io:444"), ("ca.crt".into(), false));
        let only = || Certs::Only(tmp.path().join("q.io"));
        assert_eq!(seen(only(), "q.io"), ("ca.crt".into(), true));
        assert_eq!(seen(only(), "cdn.io"), ("ca.crt".into(), false));
    }
}
