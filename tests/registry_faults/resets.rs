//! A bad line: one in a hundred blocks of 4 KiB, and one in a hundred answers, ends in a reset, at a byte that nobody
//! chose. The program itself pulls and pushes over it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::hub::Hub;
use super::layout::{Image, Place, noise};
use super::server::{After, Asked, Out, Server};
use super::*;

const BLOCK: usize = 4 << 10;
const REPOSITORY: &str = "some/image";
/// Layers, and bytes of each: as many resets as there are, and none that a single retry would have to survive.
const LAYERS: usize = 24;
const LAYER: usize = 200_000;

/// What becomes of requests. The same for the same seed, however threads take turns: it depends on what is asked for,
/// and on how often.
struct Line {
    seed: u64,
    tries: Mutex<HashMap<String, u64>>,
    resets: AtomicUsize,
}

impl Line {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            tries: Mutex::default(),
            resets: AtomicUsize::new(0),
        }
    }

    /// Numbers for one request.
    fn dice(&self, a: &Asked, what: &str) -> impl FnMut() -> u64 + use<> {
        // Names of uploads depend on who came first; their bytes do not.
        let path = match a.path.split_once("/uploads/") {
            Some(_) => format!("upload {}", a.bytes_announced()),
            None => a.path.clone(),
        };
        let key = format!("{what} {} {path} {:?}", a.method, a.from());
        let mut tries = self.tries.lock().unwrap();
        let n = tries.entry(key.clone()).or_default();
        *n += 1;
        let mut x = key.bytes().fold(self.seed ^ *n, |x, b| {
            (x ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        move || {
            // SplitMix64.
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    /// The byte of `len` after which the line breaks, if it does.
    fn breaks(&self, a: &Asked, what: &str, len: usize) -> Option<usize> {
        let mut dice = self.dice(a, what);
        // One for the answer itself, however short.
        let block = (0..=len / BLOCK).find(|_| dice().is_multiple_of(100))?;
        let at = block * BLOCK + usize::try_from(dice() % BLOCK as u64).unwrap();
        self.resets.fetch_add(1, Ordering::SeqCst);
        Some(at.min(len))
    }

    fn resets(&self) -> usize {
        self.resets.load(Ordering::SeqCst)
    }
}

/// A registry at the other end of such a line.
fn far(hub: &Arc<Hub>, line: &Arc<Line>) -> Server {
    let (hub, incoming) = (Arc::clone(hub), Arc::clone(line));
    let outgoing = Arc::clone(line);
    Server::start_cutting(
        move |a| match a.bytes_announced() {
            0 => None,
            n => incoming.breaks(a, "in", n).map(|at| at.min(n - 1)),
        },
        move |a, out| {
            if a.cut {
                // Some registries know then what they have got, some have forgotten all of it.
                match outgoing.dice(a, "forget")() % 3 {
                    0 => hub.forget_upload(a),
                    _ => hub.keep_part(a),
                }
                return After::Reset;
            }
            let blob = a.path.rsplit('/').next().unwrap_or_default();
            let bytes = hub.blobs.lock().unwrap().get(blob).cloned();
            if let (Some(bytes), "GET") = (bytes, a.method.as_str()) {
                let len = bytes.len() - a.from().unwrap_or(0);
                if let Some(at) = outgoing.breaks(a, "out", len) {
                    serve_part(a, out, &bytes, at);
                    return After::Reset;
                }
            } else if outgoing.breaks(a, "out", 0).is_some() {
                // Done, and nobody hears of it.
                let _ = hub.serve(a, &mut Out::nowhere());
                return After::Reset;
            }
            hub.serve(a, out)
        },
    )
}

fn made() -> Image {
    let files: Vec<(String, Vec<u8>)> = (0..LAYERS)
        .map(|i| (format!("f{i}"), noise(LAYER + i, i as u64 + 1)))
        .collect();
    let layers: Vec<[(&str, &[u8]); 1]> = files
        .iter()
        .map(|(name, bytes)| [(name.as_str(), bytes.as_slice())])
        .collect();
    let layers: Vec<_> = layers.iter().map(|l| &l[..]).collect();
    Image::new("x", &layers)
}

fn is_right(place: &Place, name: &str) {
    for i in 0..LAYERS {
        let want = noise(LAYER + i, i as u64 + 1);
        assert!(
            place.file(name, &format!("f{i}")) == Some(want),
            "layer {i} is not what it was"
        );
    }
    place.ok(&["system", "check"]);
    assert_eq!(place.names("tmp"), [""; 0]);
}

#[test]
fn an_image_is_pulled_over_a_bad_line() {
    let image = made();
    let hub = Arc::new(Hub::default());
    hub.put_blob(&image.config_bytes());
    for (blob, _) in &image.layers {
        hub.put_blob(blob);
    }
    let manifest = image.manifest().to_string();
    hub.put_manifest("1", media::OCI_MANIFEST, manifest.as_bytes());
    for seed in [1, 2] {
        let line = Arc::new(Line::new(seed));
        let server = far(&hub, &line);
        let name = format!("{}/{REPOSITORY}:1", server.name());
        let place = Place::new();
        place.ok(&["pull", "-q", &name]);
        is_right(&place, &name);
        assert!(
            line.resets() >= 5,
            "{} resets: not a bad line",
            line.resets()
        );
    }
}

#[test]
fn an_image_is_pushed_over_a_bad_line() {
    let image = made();
    let place = Place::new();
    image.write(&place.path("lay"));
    place.ok(&["load", "-q", "lay"]);
    let manifest = Digest::of(image.manifest().to_string().as_bytes()).to_string();
    for seed in [3, 4] {
        let (hub, line) = (Arc::new(Hub::default()), Arc::new(Line::new(seed)));
        let server = far(&hub, &line);
        let name = format!("{}/{REPOSITORY}:1", server.name());
        let pushed = place.ok(&["push", "-q", &image.id(), &name]);
        assert!(
            line.resets() >= 5,
            "{} resets: not a bad line",
            line.resets()
        );
        // All of it is there, and what is there is what was pushed: over a good line it comes back.
        let good = Server::start({
            let hub = Arc::clone(&hub);
            move |a, out| hub.serve(a, out)
        });
        let back = Place::new();
        let name = format!("{}/{REPOSITORY}@{}", good.name(), pushed.trim());
        back.ok(&["pull", "-q", &name]);
        is_right(&back, &name);
        assert_eq!(pushed.trim(), manifest);
    }
}
