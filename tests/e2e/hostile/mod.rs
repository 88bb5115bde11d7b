//! Images and registries that mean harm: each attack ends in a clear error, with nothing written
//! outside and nothing left behind.

pub mod contents;
pub mod documents;
pub mod paths;
pub mod registry;
pub mod sizes;

use std::path::Path;

use crate::harness::{Env, Evil, Image, Output, Tar, walk};

/// Pull a hostile image into a store of its own; it must fail with 125, leave nothing, and touch
/// nothing outside.
#[track_caller]
fn refused(e: &Env, evil: &Evil, message: &str) -> Output {
    refused_with(e, evil, message, &[])
}

#[track_caller]
fn refused_with(e: &Env, evil: &Evil, message: &str, flags: &[&str]) -> Output {
    let own = e.with_own_store();
    let outside = outside(e);
    let out = own
        .cmd(["pull"])
        .args(flags)
        .arg(evil.name())
        .limit(400)
        .run();
    let out = out.fails_with(125, message);
    nothing_left(&own);
    unchanged(e, &outside);
    out
}

/// The connection breaks: what came of a blob may wait for the next pull, nothing else.
#[track_caller]
fn broken_off(e: &Env, evil: &Evil) {
    let own = e.with_own_store();
    let outside = outside(e);
    own.cmd(["pull"])
        .arg(evil.name())
        .limit(400)
        .run()
        .fails_with(125, "");
    only_partial_blobs_left(&own);
    unchanged(e, &outside);
}

/// Everything in the test's folder but the store.
fn outside(e: &Env) -> Vec<String> {
    std::fs::write(e.dir.join("victim"), "untouched").unwrap();
    walk::tree(
        &e.dir,
        &["store".to_owned(), "home".to_owned(), "own".to_owned()],
    )
}

#[track_caller]
fn unchanged(e: &Env, before: &[String]) {
    let after = walk::tree(
        &e.dir,
        &["store".to_owned(), "home".to_owned(), "own".to_owned()],
    );
    assert_eq!(before, after, "something was written outside");
    for name in ["evil", "escaped"] {
        for dir in ["/tmp", "/var/tmp", "/"] {
            assert!(!Path::new(dir).join(name).exists(), "{dir}/{name}");
        }
    }
}

#[track_caller]
fn nothing_left(own: &Env) {
    only_partial_blobs_left(own);
    own.nothing_unfinished();
}

/// After a broken connection the beginning of a blob may stay, for the next pull to resume.
#[track_caller]
fn only_partial_blobs_left(own: &Env) {
    own.cmd(["images", "-q"]).ok().out_is("");
    let tmp = std::fs::read_dir(own.root().join("tmp"))
        .into_iter()
        .flatten()
        .flatten();
    let drafts: Vec<_> = tmp
        .map(|f| f.file_name())
        .filter(|n| !n.to_string_lossy().starts_with("partial-"))
        .collect();
    assert!(drafts.is_empty(), "{drafts:?}");
    let left: Vec<_> = std::fs::read_dir(own.root().join("layers"))
        .map(|d| d.flatten().map(|f| f.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "layers: {left:?}");
}

/// An attack that may also be made harmless: either refused, or unpacked with nothing outside.
#[track_caller]
fn harmless(e: &Env, tars: &[Vec<u8>]) -> Option<Env> {
    let evil = Evil::honest(Image::new(tars));
    let own = e.with_own_store();
    let before = outside(e);
    let out = own.cmd(["pull", "-q", &evil.name()]).run();
    unchanged(e, &before);
    if out.code() == 0 {
        let image = own.cmd(["tag", &evil.name(), "attack"]).run();
        assert_eq!(image.code(), 0, "{image:?}");
        return Some(own);
    }
    out.code_is(125);
    nothing_left(&own);
    None
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn simple() -> Image {
    Image::new(&[Tar::busybox().end()])
}
