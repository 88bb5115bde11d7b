//! Who may use whom: holds the rules of `src/lib.rs` on the source itself.
//!
//! A small scanner turns each file into words (comments and literals left out), follows `crate::` and
//! `super::` paths to the room they lead to, and compares with [`MAY_USE`]. It cannot see through
//! re-exports, which is intended: a room that re-exports a type of another one answers for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// For each room, what it may use: a room (everything public in it), or `room::item` (that item and
/// what is below it).
const MAY_USE: &[(&str, &[&str])] = &[
    // From the rooms below `ops`, only the values that it hands through.
    (
        "cli",
        &[
            "ops",
            "oci",
            "layer::Limits",
            "rootfs::Driver",
            "runtime::MountOptions",
            "runtime::caps",
            "store::Error",
            "store::ImageRecord",
            "store::ImageSummary",
        ],
    ),
    (
        "ops",
        &[
            "registry", "layer", "store", "rootfs", "runtime", "emulate", "monitor", "oci",
            "config", "cgroup", "host", "owners", "sys", "trees", "trust", "build",
        ],
    ),
    // A cache key is a digest.
    ("build", &["oci"]),
    ("registry", &["oci", "config"]),
    ("layer", &["oci", "owners", "sys", "trees"]),
    // Removing a tree that a stranger made is `layer`'s art.
    (
        "store",
        &[
            "oci",
            "owners",
            "layer::remove_tree",
            "layer::Error",
            "sys",
            "trees::clear_scratch",
        ],
    ),
    ("rootfs", &["sys", "trees"]),
    // The filter and the start of a supervisor belong to the start of a container.
    ("runtime", &["rootfs", "emulate", "sys"]),
    ("emulate", &["owners", "sys"]),
    ("monitor", &["runtime", "sys"]),
    // Limits are the business of who asks for them, not of who sets a container up.
    ("cgroup", &["sys"]),
    ("host", &["sys"]),
    ("owners", &["trees"]),
    ("trees", &[]),
    ("oci", &[]),
    // Which registries stand for an image is said in terms of its name.
    ("config", &["oci"]),
    ("trust", &["oci", "config"]),
    ("sys", &[]),
    // The map itself, and the program.
    ("lib", &[]),
    ("main", &["cli"]),
];

/// Crates that have one home.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("ureq", &["registry"]),
    ("rustls_native_certs", &["registry"]),
    ("tar", &["layer", "ops"]),
    ("flate2", &["layer", "ops"]),
    ("zstd", &["layer", "ops"]),
    ("oci_spec", &["oci", "ops", "runtime", "cli"]),
];

/// Longest file without its tests, in lines. The aim is 500; see CONTRIBUTING.md.
const CODE_MAX: usize = 600;
/// Longest file.
const FILE_MAX: usize = 700;

/// A path that starts at the crate's root, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    line: usize,
    room: String,
    /// What follows the room, if something does.
    item: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Word<'a> {
    text: &'a str,
    line: usize,
}

/// Identifiers, `::`, and single other characters; no comments, no literals, no white space.
fn words(source: &str) -> Vec<Word<'_>> {
    let bytes = source.as_bytes();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    while at < bytes.len() {
        let rest = &source[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            at + block_comment(rest)
        } else if let Some(length) = literal(rest) {
            at + length
        } else if is_word(bytes[at]) {
            let length = rest.bytes().take_while(|b| is_word(*b)).count();
            words.push(Word {
                text: &rest[..length],
                line,
            });
            at + length
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                rest.chars().next().map_or(1, char::len_utf8)
            };
            if !bytes[at].is_ascii_whitespace() {
                words.push(Word {
                    text: &rest[..length],
                    line,
                });
            }
            at + length
        };
        line += source[at..end].matches('\n').count();
        at = end;
    }
    words
}

/// Length of the (possibly nested) comment that `s` starts with.
fn block_comment(s: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < s.len() {
        match &s.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    s.len()
}

/// Length of the string or character literal that `s` starts with.
fn literal(s: &str) -> Option<usize> {
    let bytes = s.as_bytes();
    let prefix = ["br", "cr", "b", "c", "r", ""]
        .into_iter()
        .find(|p| s.starts_with(p) && matches!(bytes.get(p.len()), Some(b'"' | b'#' | b'\'')))?;
    let body = &s[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.bytes().take_while(|b| *b == b'#').count();
        if body.as_bytes().get(hashes) != Some(&b'"') {
            return None;
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let inner = &body[hashes + 1..];
        return Some(prefix.len() + hashes + 1 + inner.find(&close)? + close.len());
    }
    let quote = body.bytes().next()?;
    if quote == b'\'' {
        // 'a' and '\n' are characters, 'a alone is a lifetime.
        let second = body.chars().nth(1)?;
        if second != '\\' && body.chars().nth(2) != Some('\'') {
            return None;
        }
    } else if quote != b'"' {
        return None;
    }
    let mut escaped = false;
    for (i, b) in body.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b if b == quote => return Some(prefix.len() + i + 1),
            _ => {}
        }
    }
    None
}

/// All paths from the crate's root. `depth`: how many modules deep the file is (a room's `mod.rs` is 1).
fn uses(words: &[Word<'_>], depth: usize) -> BTreeSet<Use> {
    let text = |i: usize| words.get(i).map_or("", |w| w.text);
    let mut found = BTreeSet::new();
    // Brace depths at which inline modules opened.
    let (mut braces, mut inline) = (0usize, Vec::new());
    let mut i = 0;
    while i < words.len() {
        match text(i) {
            "mod" if text(i + 2) == "{" => inline.push(braces),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
            }
            "crate" if text(i + 1) == "::" && text(i.wrapping_sub(1)) != "::" => {
                path(words, i + 2, &mut found);
            }
            "super" if text(i + 1) == "::" && text(i.wrapping_sub(1)) != "::" => {
                let mut up = 0;
                while text(i) == "super" && text(i + 1) == "::" {
                    up += 1;
                    i += 2;
                }
                if up >= depth + inline.len() {
                    path(words, i, &mut found);
                }
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    // `use crate::store;` makes `store::Error` mean `crate::store::Error`.
    let whole: Vec<Use> = found.iter().filter(|u| u.item.is_none()).cloned().collect();
    for module in whole {
        found.remove(&module);
        let mut used = false;
        for i in 0..words.len() {
            if text(i) == module.room && text(i + 1) == "::" && text(i.wrapping_sub(1)) != "::" {
                used |= path(words, i, &mut found) > 0;
            }
        }
        if !used {
            found.insert(module);
        }
    }
    found
}

/// Record what the path that continues at word `i` names; returns how many paths it was.
fn path(words: &[Word<'_>], i: usize, found: &mut BTreeSet<Use>) -> usize {
    let mut count = 0;
    for (at, room) in members(words, i) {
        let item = |item: Option<&str>| Use {
            line: words[at].line,
            room: room.to_owned(),
            item: item.map(str::to_owned),
        };
        if words.get(at + 1).is_some_and(|w| w.text == "::") {
            for (_, name) in members(words, at + 2) {
                found.insert(item((name != "self").then_some(name)));
                count += 1;
            }
        } else {
            found.insert(item(None));
            count += 1;
        }
    }
    count
}

/// The names at word `i`: one, or those of a `{group}`, each with its position.
fn members<'a>(words: &[Word<'a>], i: usize) -> Vec<(usize, &'a str)> {
    let Some(first) = words.get(i) else {
        return Vec::new();
    };
    if first.text != "{" {
        return vec![(i, first.text)];
    }
    let mut out = Vec::new();
    let (mut depth, mut fresh) = (0, false);
    for (at, word) in words.iter().enumerate().skip(i) {
        match word.text {
            "{" => {
                depth += 1;
                fresh |= depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            "," if depth == 1 => fresh = true,
            name if fresh => {
                out.push((at, name));
                fresh = false;
            }
            _ => {}
        }
    }
    out
}

/// Everything that is wrong with a file of `room`.
fn check(room: &str, depth: usize, source: &str) -> Vec<String> {
    let words = words(source);
    let mut wrong = Vec::new();
    let Some((_, allowed)) = MAY_USE.iter().find(|(r, _)| *r == room) else {
        return vec![format!("room {room} is not in the table of tests/rooms.rs")];
    };
    let is_room = |name: &str| MAY_USE.iter().any(|(r, _)| *r == name);
    for u in uses(&words, depth) {
        let Use {
            line,
            room: to,
            item,
        } = &u;
        // A macro or an item of the crate's root is nobody's room, and there are none.
        let named = item.as_ref().map_or(to.clone(), |i| format!("{to}::{i}"));
        if to == room && is_room(to) {
            continue;
        }
        if !is_room(to) {
            wrong.push(format!("{line}: crate::{to} is no room"));
        } else if !allowed.iter().any(|a| *a == to || *a == named) {
            wrong.push(format!("{line}: {room} may not use {named}"));
        }
    }
    if room != "sys" {
        for w in words.iter().filter(|w| w.text == "unsafe") {
            wrong.push(format!("{}: unsafe outside of sys", w.line));
        }
        // What would silence the lint.
        for pair in words.windows(3) {
            if matches!(pair[0].text, "allow" | "expect") && pair[2].text == "unsafe_code" {
                wrong.push(format!(
                    "{}: unsafe code allowed outside of sys",
                    pair[0].line
                ));
            }
        }
    }
    for (krate, homes) in HOMES.iter().filter(|(_, homes)| !homes.contains(&room)) {
        for (i, w) in words.iter().enumerate().filter(|(_, w)| w.text == *krate) {
            let next = words.get(i + 1).is_some_and(|n| n.text == "::");
            let inside = i > 0 && words[i - 1].text == "::";
            if next && !inside {
                wrong.push(format!(
                    "{}: {krate} belongs in {}",
                    w.line,
                    homes.join(", ")
                ));
            }
        }
    }
    wrong
}

/// What is wrong with a file's size. A `tests.rs` is tests from its first line on.
fn check_size(file: &Path, source: &str) -> Option<String> {
    let all = source.lines().count();
    let code = source
        .lines()
        .position(|l| l == "#[cfg(test)]")
        .unwrap_or(all);
    let code = if file.ends_with("tests.rs") { 0 } else { code };
    if all > FILE_MAX {
        Some(format!("{all} lines, more than {FILE_MAX}"))
    } else if code > CODE_MAX {
        Some(format!("{code} lines of code, more than {CODE_MAX}"))
    } else {
        None
    }
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
    out.sort();
}

/// Room and module depth of a file below `src`.
fn place(file: &Path) -> (String, usize) {
    let parts: Vec<&str> = file.iter().filter_map(|p| p.to_str()).collect();
    let name = parts.last().map_or("", |p| p.trim_end_matches(".rs"));
    match parts.as_slice() {
        [_] => (name.to_owned(), 0),
        _ if name == "mod" => (parts[0].to_owned(), parts.len() - 1),
        _ => (parts[0].to_owned(), parts.len()),
    }
}

fn over_all_files(check: impl Fn(&Path, &str) -> Vec<String>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 50, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let short = file.strip_prefix(&src).expect("it is below src");
        let text = fs::read_to_string(&file).expect("source can be read");
        wrong.extend(
            check(short, &text)
                .into_iter()
                .map(|w| format!("src/{}:{w}", short.display())),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn rooms_use_only_whom_they_may() {
    over_all_files(|file, text| {
        let (room, depth) = place(file);
        check(&room, depth, text)
    });
}

#[test]
fn no_file_is_too_long() {
    over_all_files(|file, text| {
        check_size(file, text)
            .into_iter()
            .map(|w| format!(" {w}"))
            .collect()
    });
}

#[test]
fn every_room_is_on_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("src/lib.rs")).expect("source can be read");
    for (room, _) in MAY_USE.iter().filter(|(r, _)| !["lib", "main"].contains(r)) {
        assert!(map.contains(&format!("pub mod {room};")), "{room}");
        assert!(
            map.contains(&format!("| [`{room}`] |")),
            "{room} has no line in the map"
        );
    }
}

mod the_checker {
    use super::*;

    fn wrong(room: &str, source: &str) -> Vec<String> {
        check(room, 2, source)
    }

    #[test]
    fn finds_what_is_forbidden() {
        for (room, source) in [
            ("runtime", "use crate::store::Store;"),
            ("runtime", "fn f() { crate::registry::Client::new() }"),
            ("runtime", "use crate::{rootfs::Root, store};"),
            (
                "runtime",
                "use crate::{\n    rootfs,\n    ops::{self, run},\n};",
            ),
            ("runtime", "use super::super::cli::main;"),
            ("store", "type A = crate::runtime::Started;"),
            ("store", "use crate::layer::{remove_tree, apply};"),
            ("sys", "use crate::oci::Digest;"),
            ("cli", "use crate::registry;"),
            ("cli", "use crate::store;\nfn f() { store::Store::open() }"),
            ("cli", "use crate::runtime::{MountOptions, spawn};"),
            (
                "oci",
                "mod tests { use super::super::super::store::Store; }",
            ),
            ("oci", "fn f() { unsafe { g() } }"),
            ("oci", "#![allow(unsafe_code)]"),
            ("ops", "use clap::Parser;"),
            ("store", "fn f() { ureq::get(\"x\") }"),
            ("oci", "use crate::attic::Thing;"),
            ("attic", ""),
            // A literal or a comment must not hide what follows it.
            (
                "oci",
                "const A: &str = \"// \\\" \"; use crate::store::Store;",
            ),
            (
                "oci",
                "const A: char = '\"'; use crate::store::Store; const B: char = '\"';",
            ),
            (
                "oci",
                "const A: &str = r#\"\"//\"#; use crate::store::Store;",
            ),
            ("oci", "/* /* */ */ use crate::store::Store;"),
            ("oci", "fn f<'a>(x: &'a str) { unsafe { g('a') } }"),
        ] {
            assert!(!wrong(room, source).is_empty(), "{room}: {source}");
        }
    }

    #[test]
    fn lets_pass_what_is_allowed() {
        for (room, source) in [
            (
                "runtime",
                "use crate::rootfs::Root;\nuse crate::runtime::Plan;",
            ),
            (
                "runtime",
                "//! Sees no [`crate::store`].\nconst A: &str = \"crate::store::Store\";",
            ),
            (
                "store",
                "use crate::layer::{remove_tree};\nuse super::Error;",
            ),
            (
                "cli",
                "use crate::store;\nfn f() { ops::Error::Store(store::Error::X) }",
            ),
            ("cli", "mod a { use super::super::Failure; }"),
            ("cli", "pub(crate) fn f() {}\npub(in crate::cli) fn g() {}"),
            ("sys", "#![allow(unsafe_code)]\nfn f() { unsafe { g() } }"),
            ("ops", "// unsafe\nlet not_unsafe = '\\'';"),
            ("registry", "use ureq::Agent;"),
            ("oci", "mod tests { use super::super::Digest; }"),
        ] {
            assert_eq!(
                wrong(room, source),
                Vec::<String>::new(),
                "{room}: {source}"
            );
        }
    }

    #[test]
    fn knows_where_a_file_is() {
        for (file, room, depth) in [
            ("lib.rs", "lib", 0),
            ("oci/mod.rs", "oci", 1),
            ("oci/digest.rs", "oci", 2),
            ("runtime/init/mod.rs", "runtime", 2),
            ("runtime/init/mounts.rs", "runtime", 3),
        ] {
            assert_eq!(place(Path::new(file)), (room.to_owned(), depth), "{file}");
        }
    }

    #[test]
    fn measures_code_and_tests_apart() {
        let size = |source: &str| check_size(Path::new("oci/digest.rs"), source);
        let code = "\n".repeat(CODE_MAX);
        assert_eq!(size(&code), None);
        assert!(size(&format!("{code}\n")).is_some());
        let tests = "\n".repeat(FILE_MAX - CODE_MAX - 1);
        assert_eq!(size(&format!("{code}#[cfg(test)]\n{tests}")), None);
        assert!(size(&format!("{code}#[cfg(test)]\n{tests}\n")).is_some());
        let file = Path::new("store/tests.rs");
        assert_eq!(check_size(file, &"\n".repeat(FILE_MAX)), None);
        assert!(check_size(file, &"\n".repeat(FILE_MAX + 1)).is_some());
    }
}
