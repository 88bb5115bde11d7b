//! `secret`: what containers get to know and images do not. podman-secret(1).
//!
//! What a container gets of them, and when, is [`run`](super::run)'s business.

use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};

use super::Error;
use crate::store::{Hidden, Secret, Store};

/// Content has less bytes than this: podman's limit, which is docker's.
pub const DATA_MAX: usize = 512_000;

/// Why a secret is not made.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nothing is no secret, and a file is not one either.
    #[error("secret data must be larger than 0 and less than {DATA_MAX} bytes")]
    Size,
    /// What has a zero byte in it is no variable's value.
    #[error("secret {0} has a zero byte, which an environment variable cannot hold")]
    Variable(String),
}

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// The user's.
    pub labels: Vec<(String, String)>,
    /// Its content.
    pub data: Hidden,
    /// In place of one of this name.
    pub replace: bool,
}

/// Keep a secret; its id comes back.
///
/// # Errors
/// [`SecretError`]; a name that is none, or is taken.
pub fn create(store: &Store, o: &Options) -> Result<String, Error> {
    if o.data.0.is_empty() || o.data.0.len() >= DATA_MAX {
        return Err(SecretError::Size.into());
    }
    let mut bytes = [0u8; 13];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|e| Error::Prepare(e.into()))?;
    let mut id = base16ct::lower::encode_string(&bytes);
    id.truncate(25);
    let secret = Secret {
        id,
        name: o.name.clone(),
        created_at: jiff::Timestamp::now().to_string(),
        labels: o.labels.iter().cloned().collect(),
        data: o.data.clone(),
    };
    store.secrets().create(&secret, o.replace)?;
    Ok(secret.id)
}

/// All of them, by name.
///
/// # Errors
/// Of reading the store.
pub fn list(store: &Store) -> Result<Vec<Secret>, Error> {
    Ok(store.secrets().list()?)
}

/// The one of this name, or whose id starts like this.
///
/// # Errors
/// That there is none.
pub fn find(store: &Store, name: &str) -> Result<Secret, Error> {
    Ok(store.secrets().find(name)?)
}

/// Remove it; its id comes back.
///
/// # Errors
/// As [`find`].
pub fn remove(store: &Store, name: &str) -> Result<String, Error> {
    Ok(store.secrets().remove(name)?.id)
}

/// All but its content, with podman's keys.
pub fn document(secret: &Secret) -> Value {
    json!({
        "ID": secret.id,
        "CreatedAt": secret.created_at,
        "UpdatedAt": secret.created_at,
        "Spec": {
            "Name": secret.name,
            "Driver": { "Name": "file", "Options": {} },
            "Labels": secret.labels,
        },
    })
}
