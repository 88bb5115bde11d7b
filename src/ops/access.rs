//! How registries are reached: what the command line says of it, and the client that follows from that and
//! from the user's configuration.

use std::path::PathBuf;

use super::Error;
use crate::config::Env;
use crate::config::auth::{Credentials, Login};
use crate::config::certs::Certs;
use crate::config::proxy::Proxies;
use crate::config::registries::Registries;
use crate::registry::{self, Client};

/// What the command line says. Nothing is read before a client is made.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Check certificates, and speak plain http with loopback addresses only; `None` if nothing is said.
    pub tls_verify: Option<bool>,
    /// The one file to read logins from.
    pub authfile: Option<PathBuf>,
    /// Logins for registries, which count before those of files.
    pub logins: Vec<(String, Login)>,
    /// The one directory of certificates for the registry.
    pub cert_dir: Option<PathBuf>,
}

impl Access {
    /// A client with the user's logins.
    pub(super) fn client(&self) -> Result<Client, Error> {
        let mut credentials = Credentials::load(self.authfile.as_deref(), Env::process())?;
        for (registry, login) in &self.logins {
            credentials.put_first(registry, login.clone());
        }
        self.client_with(credentials)
    }

    /// The configuration of registries. `--tls-verify=true` stands above what it calls insecure.
    pub(super) fn registries(&self) -> Result<Registries, Error> {
        let mut registries = Registries::load(Env::process())?;
        if self.tls_verify == Some(true) {
            registries.secure();
        }
        Ok(registries)
    }

    /// A client with these logins.
    pub(super) fn client_with(&self, credentials: Credentials) -> Result<Client, Error> {
        Ok(Client::new(registry::Options {
            registries: self.registries()?,
            proxies: Proxies::new(Env::process()),
            certs: Certs::new(self.cert_dir.as_deref(), Env::process()),
            tls_verify: self.tls_verify.unwrap_or(true),
            credentials,
            ..registry::Options::default()
        }))
    }
}
