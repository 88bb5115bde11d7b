//! `kill -9` while the store is written to: the next command works, what was finished is intact, and
//! what was left behind is gone after it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod layout;

use std::process::Stdio;
use std::time::{Duration, Instant};

use layout::{Image, Place, noise};

/// Kills, spread evenly over the time that the command takes.
const KILLS: u32 = 40;

/// Run a command and kill it after part `n` of `parts` of the time that it `took`. `true` if it was killed
/// before it ended; otherwise the time was measured on a busier machine, and is corrected.
fn kill_in_part(place: &Place, args: &[&str], took: &mut Duration, n: u32, parts: u32) -> bool {
    let delay = *took * n / parts;
    let mut child = place
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    child.kill().unwrap();
    let killed = !child.wait().unwrap().success();
    if !killed {
        *took = (*took).min(delay);
    }
    killed
}

fn only_partials(place: &Place) {
    for name in place.names("tmp") {
        assert!(name.starts_with("partial-"), "{name} was left");
    }
}

#[test]
fn a_load_that_is_killed_anywhere_leaves_a_store_that_works() {
    let place = Place::new();
    let kept = Image::new("localhost/kept:1", &[&[("k", b"kept")]]);
    kept.write(&place.path("kept"));
    place.ok(&["load", "kept"]);

    let contents: Vec<Vec<u8>> = (0..4).map(|i| noise(2 << 20, i)).collect();
    let files: Vec<Vec<(&str, &[u8])>> = contents.iter().map(|c| vec![("f", &c[..])]).collect();
    let layers: Vec<layout::Files<'_>> = files.iter().map(Vec::as_slice).collect();
    let image = Image::new("localhost/big:1", &layers);
    image.write(&place.path("big"));
    let start = Instant::now();
    place.ok(&["load", "-q", "big"]);
    let mut took = start.elapsed();
    place.ok(&["rmi", "localhost/big:1"]);

    let mut killed = 0;
    for n in 0..KILLS {
        let load = ["load", "-q", "big"];
        killed += u32::from(kill_in_part(&place, &load, &mut took, n, KILLS));
        place.ok(&["images"]);
        assert_eq!(place.file("localhost/kept:1", "k").unwrap(), b"kept");
        if place.store().images().find("localhost/big:1").is_ok() {
            // It is listed, so it is whole.
            assert_eq!(place.file("localhost/big:1", "f").unwrap(), contents[3]);
            assert_eq!(
                place
                    .store()
                    .images()
                    .find("localhost/big:1")
                    .unwrap()
                    .layers
                    .len(),
                4
            );
        }
        if n % 4 == 3 {
            // Go on from what is there, or anew.
            place.ok(&["load", "-q", "big"]);
            only_partials(&place);
            assert_eq!(place.file("localhost/big:1", "f").unwrap(), contents[3]);
            place.ok(&["rmi", "localhost/big:1"]);
            assert_eq!(place.names("layers").len(), 1);
        }
    }
    assert!(
        killed > KILLS / 4,
        "only {killed} of {KILLS} were killed in time"
    );
    place.ok(&["load", "-q", "big"]);
    assert_eq!(place.names("tmp"), [""; 0]);
    assert_eq!(place.names("layers").len(), 5);
}

#[test]
fn a_removal_that_is_killed_anywhere_takes_no_other_image_along() {
    let place = Place::new();
    let many: Vec<(String, Vec<u8>)> = (0..400).map(|i| (format!("f{i}"), vec![b'x'])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(n, c)| (n.as_str(), &c[..])).collect();
    let shared: layout::Files<'_> = &[("shared", b"both have it")];
    let kept = Image::new("localhost/kept:1", &[shared]);
    let gone = Image::new("localhost/gone:1", &[shared, &many]);
    kept.write(&place.path("kept"));
    gone.write(&place.path("gone"));
    place.ok(&["load", "kept"]);
    place.ok(&["load", "gone"]);
    let start = Instant::now();
    place.ok(&["rmi", "localhost/gone:1"]);
    let mut took = start.elapsed();
    for n in 0..KILLS / 2 {
        place.ok(&["load", "-q", "gone"]);
        only_partials(&place);
        let rmi = ["rmi", "localhost/gone:1"];
        kill_in_part(&place, &rmi, &mut took, n, KILLS / 2);
        assert_eq!(
            place.file("localhost/kept:1", "shared").unwrap(),
            b"both have it"
        );
        if place.store().images().find("localhost/gone:1").is_ok() {
            assert_eq!(place.file("localhost/gone:1", "f399").unwrap(), b"x");
        }
    }
    place.run(&["rmi", "-f", "localhost/gone:1"]);
    place.store().sweep().unwrap();
    place.store().gc(&[]).unwrap();
    assert_eq!(place.names("layers").len(), 1);
    assert_eq!(place.names("tmp"), [""; 0]);
}
