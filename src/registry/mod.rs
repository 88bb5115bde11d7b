//! Client for registries: the OCI distribution specification 1.1, over HTTP/1.1.
//! Blocking, shared by the threads of a pull or push, and ignorant of the store: it hands out bytes and says
//! what they claim to be.
//!
//! ```text
//! client.rs     one method a request of the API; retries; which scheme; who may see credentials
//!   blob.rs       a stream that heals itself: resume, skip, exact length
//!   upload.rs     blobs and manifests on their way there: mount, upload, resume
//!   auth.rs       cache of what a registry granted; the token service
//!     challenge.rs  WWW-Authenticate, parsed (pure)
//!   redirect.rs   where a redirect leads, and whether we go there (pure)
//!   retry.rs      how long to wait, and when to give up (pure but for sleeping)
//!   endpoint.rs   registry name to URLs (pure)
//!   transport.rs  one request and its redirects: ureq, TLS roots, proxies, time limits
//!   reply.rs      head and body of a reply, within limits
//! error.rs      everything that can go wrong
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
mod redirect;
mod reply;
mod retry;
mod transport;
mod upload;

pub use blob::Blob;
pub use client::{Client, Fetched, Options};
pub use error::{Error, Message};
pub use upload::{Open, Upload};
