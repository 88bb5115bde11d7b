//! Whether a registry takes a login (distribution specification 1.1, "Determining Support").

use super::client::{Client, Get, refusal};
use super::error::Error;
use super::retry::Backoff;

impl Client {
    /// Show the login that the credentials have for `registry` and `path` (empty for the registry as such)
    /// to the registry, or to its token service. Whether it wanted to see one: where it did not, nothing
    /// is known of the login.
    pub fn check_login(&self, registry: &str, path: &str) -> Result<bool, Error> {
        let subject = self.subject(registry, path);
        let get = Get {
            subject,
            path: "/v2/".to_owned(),
            accept: None,
            from: 0,
            to: None,
            head: false,
            what: format!("the interface of {registry}"),
        };
        let mut backoff = Backoff::new(self.retries(), self.retries());
        loop {
            let reply = match self.get(&get) {
                Ok(reply) => reply,
                Err(Error::LoginNeeded { registry, said, .. }) => {
                    return Err(Error::LoginRefused { registry, said });
                }
                Err(e) => {
                    backoff.sleep(e)?;
                    continue;
                }
            };
            match reply.status() {
                200 => return Ok(self.was_granted(subject)),
                _ => backoff.sleep(refusal(reply, &get.what))?,
            }
        }
    }
}
