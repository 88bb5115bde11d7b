//! A disk that is full: each command fails with a message that says so, or works, and the store stays
//! usable. The disk is a small tmpfs in a mount namespace of the test's own.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stderr, reason = "a skip is a result with a reason")]

mod layout;

use std::process::{Command, Stdio};

use layout::{Image, Place, noise};

/// How to get a mount namespace here, if at all.
fn unshare() -> Option<&'static [&'static str]> {
    [&["-m"][..], &["-U", "-r", "-m"]]
        .into_iter()
        .find(|flags| {
            Command::new("unshare")
                .args(*flags)
                .args(["sh", "-c", "mount -t tmpfs none /mnt"])
                .stdin(Stdio::null())
                .output()
                .is_ok_and(|o| o.status.success())
        })
}

/// `$1` binary, `$2` mount point, `$3` KiB that are free at first. Prints a line a step.
const SCRIPT: &str = r#"
set -eu
mkdir "$2"
mount -t tmpfs -o size=8m none "$2"
# What takes the rest: an ordinary user may not make the file system larger later.
ballast=$2/ballast
head -c "$(((8192 - $3) * 1024))" /dev/zero >"$ballast"
set -- "$1" "$2/store"
first=0; "$1" --root "$2" load -q small 2>small.err || first=$?
second=0; "$1" --root "$2" load -q big 2>big.err || second=$?
echo "small $first"
echo "big $second"
for f in "$2"/tmp/*; do
    case $f in
        */partial-*|*/tmp/\*) ;;
        *) echo "left $f" ;;
    esac
done
list=0; "$1" --root "$2" images --format '{{.Repository}}' 2>&1 || list=$?
echo "images $list"
if [ $first = 0 ]; then
    cat "$2"/layers/*/diff/s
    # Space again: everything works again.
    rm "$ballast"
    "$1" --root "$2" load -q big
    "$1" --root "$2" rmi localhost/big:1
    cat "$2"/layers/*/diff/s
    echo "left: $(ls "$2/tmp")"
fi
"#;

#[test]
fn a_full_disk_leaves_a_store_that_works() {
    let Some(flags) = unshare() else {
        eprintln!("skipped: neither unshare -m nor unshare -Urm can mount a tmpfs here");
        return;
    };
    let place = Place::new();
    let small = Image::new("localhost/small:1", &[&[("s", b"small\n")]]);
    small.write(&place.path("small"));
    let (a, b) = (noise(600 << 10, 1), noise(600 << 10, 2));
    let big = Image::new("localhost/big:1", &[&[("a", &a)], &[("b", &b)]]);
    big.write(&place.path("big"));

    let mut full = 0;
    let mut fits = 0;
    // From hardly a page to enough: the disk is full at another step each time.
    for kib in (16..200).step_by(12).chain((200..3200).step_by(150)) {
        let store = place.path(&format!("store-{kib}"));
        let out = Command::new("unshare")
            .args(flags)
            .args(["sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_coracle")])
            .arg(&store)
            .arg(kib.to_string())
            .current_dir(place.dir.path())
            .env("HOME", place.dir.path())
            .env("TMPDIR", place.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        let what = format!("{kib} KiB:\n{text}{err}");
        assert!(out.status.success(), "{what}");
        assert!(!text.contains("left /"), "{what}");
        for name in ["small", "big"] {
            let message = std::fs::read_to_string(place.path(&format!("{name}.err"))).unwrap();
            if text.contains(&format!("{name} 125")) {
                full += 1;
                assert!(
                    message.contains("No space left on device"),
                    "{what}{message}"
                );
                assert!(message.contains("hint: "), "{what}{message}");
            } else {
                fits += 1;
                assert!(text.contains(&format!("{name} 0")), "{what}{message}");
            }
        }
        if text.contains("small 0") {
            assert!(text.contains("images 0"), "{what}");
            assert!(text.matches("small\n").count() >= 2, "{what}");
            assert!(text.ends_with("left: \n"), "{what}");
        }
    }
    assert!(
        full > 10 && fits > 10,
        "{full} full, {fits} fit: the sizes miss the point"
    );
}
