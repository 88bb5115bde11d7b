//! Registries that misbehave: every promise of `registry` against a real socket.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod blobs;
mod hub;
#[path = "../layout/mod.rs"]
mod layout;
mod lists;
mod logins;
mod manifests;
mod mirrors;
mod parts;
mod proxies;
mod redirects;
mod referrers;
mod resets;
mod server;
mod stalls;
mod statuses;
mod uploads;

use std::io::Read;
use std::time::Duration;

use coracle::config::auth::{Credentials, Login};
use coracle::oci::{Digest, Reference, media};
use coracle::registry::{Client, Error, Options};
use server::{After, Asked, Out, Server};

/// How long an [`impatient`] client bears silence: long against a busy machine, short for a test.
const STALL: Duration = Duration::from_secs(1);
const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

/// The product's own patience, so that a busy machine is not taken for a stalling registry.
fn options() -> Options {
    Options {
        retries: 3,
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options())
}

fn impatient() -> Client {
    Client::new(Options {
        stall_timeout: STALL,
        ..options()
    })
}

fn with_login(server: &Server) -> Client {
    let login = Login::Password {
        user: "me".into(),
        password: "s3cret".into(),
    };
    Client::new(Options {
        credentials: Credentials::one(&server.name(), login),
        ..options()
    })
}

/// `me:s3cret`, base64.
const BASIC: &str = "Basic bWU6czNjcmV0";

fn image(server: &Server) -> Reference {
    format!("{}/some/image:1", server.name()).parse().unwrap()
}

fn ok_manifest(out: &mut Out<'_>) -> After {
    out.reply(200, &[("Content-Type", media::OCI_MANIFEST)], MANIFEST)
}

/// Bytes that are different everywhere, so that a part in the wrong place shows.
fn content(len: usize) -> Vec<u8> {
    let mut x = 1u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

/// Read a whole blob of which the manifest says that it has these bytes.
fn read_blob(
    client: &Client,
    server: &Server,
    all: &[u8],
    offset: usize,
) -> Result<Vec<u8>, Error> {
    let d = Digest::of(all);
    let mut blob = client.blob(&image(server), &d, all.len() as u64, offset as u64)?;
    let mut got = Vec::new();
    blob.read_to_end(&mut got)
        .map_err(|e| Error::from_io(e).unwrap())?;
    Ok(got)
}

/// A correct reply to a request for (the rest of) these bytes.
fn serve_range(asked: &Asked, out: &mut Out<'_>, all: &[u8]) -> After {
    match asked.from() {
        None => out.reply(200, &[], all),
        Some(from) => {
            let last = asked.last().unwrap_or(all.len() - 1);
            let range = format!("bytes {from}-{last}/{}", all.len());
            out.reply(206, &[("Content-Range", &range)], &all[from..=last])
        }
    }
}

/// A correct head, and only `n` bytes of the body.
fn serve_part(asked: &Asked, out: &mut Out<'_>, all: &[u8], n: usize) -> bool {
    let from = asked.from().unwrap_or(0);
    let rest = &all[from..];
    let length = rest.len().to_string();
    let range = format!("bytes {from}-{}/{}", all.len() - 1, all.len());
    match asked.from() {
        None => out.head(200, &[("Content-Length", &length)]),
        Some(_) => out.head(
            206,
            &[("Content-Length", &length), ("Content-Range", &range)],
        ),
    }
    out.raw(&rest[..rest.len().min(n)]);
    rest.len() <= n
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}
