//! Client for registries: the OCI distribution specification 1.1, over HTTP/1.1.
//! Blocking, shared by the threads of a pull or push, and ignorant of the store: it hands out bytes and says
//! what they claim to be.
//!
//! ```text
//! client.rs     one method a request of the API; retries; which scheme; who may see credentials
//!   listing.rs    tags, repositories, searches: pages and their limits
//!   login.rs      whether a registry takes a login
//!   places.rs     mirrors, and what to do when one fails
//!   blob.rs       a stream that heals itself: resume, skip, exact length
//!   publish.rs    the way there: what is there already, mounts, manifests
//!     upload.rs     one blob: upload, resume, pieces
//!     referrers.rs  what refers to a manifest, also where a registry keeps no account of it
//!   auth.rs       cache of what a registry granted; the token service
//!     challenge.rs  WWW-Authenticate, parsed (pure)
//!   redirect.rs   where a redirect leads, and whether we go there (pure)
//!   retry.rs      how long to wait, and when to give up (pure but for sleeping)
//!   endpoint.rs   registry name to URLs (pure)
//!   transport.rs  one request and its redirects: ureq, proxies, time limits
//!     tls.rs        whom we trust, and what we show
//!   reply.rs      head and body of a reply, within limits
//!   subject.rs    whom we talk to: what tokens and connections depend on
//! error.rs      everything that can go wrong
//! message.rs    what a registry says, fit to be shown (pure)
//! ```
//!
//! Invariants:
//! - What a registry sends is hostile: every header is parsed with limits, every body is read with a
//!   limit in bytes and in time, and text meant for the user is shortened and escaped here.
//! - Credentials and tokens go to the registry that they are for and to the https token service that
//!   it names, never along a redirect to another origin, and never with the first request: what is
//!   sent unasked carries no secret.
//! - Nothing is done before it is needed: no TLS set-up for plain http.

mod auth;
mod blob;
mod challenge;
mod client;
mod endpoint;
mod error;
mod listing;
mod login;
mod message;
mod places;
mod publish;
mod redirect;
mod referrers;
mod reply;
mod retry;
mod subject;
mod tls;
mod transport;
mod upload;

/// For tests/fuzz: whether a `WWW-Authenticate` header has a challenge that we know.
#[cfg(fuzzing)]
pub fn has_challenge(header: &str) -> bool {
    challenge::parse(std::iter::once(header)).is_some()
}

pub use blob::Blob;
pub use client::{Client, Fetched, Options};
pub use error::{Error, Notice};
pub use listing::Hit;
pub use message::Message;
pub use referrers::Referrer;
pub use upload::{Open, Upload};
