//! `e2e --walk DIR [SKIP...]`: one line for each thing in a tree, so that two trees can be compared as
//! text. The suite's own binary is static: it also runs inside of a container, on the overlay's view.
//!
//! `NAME TYPE MODE NLINK SIZE MTIME CONTENT`: name with everything but printable ASCII escaped; octal
//! mode; link count (`-` for directories, which file systems count in their own ways); seconds and
//! nanoseconds; sha256 of a file, target of a link, numbers of a device; then the user xattrs.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::tarball::digest;

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}

fn xattrs(path: &Path) -> String {
    let mut found: Vec<String> = xattr::list(path)
        .into_iter()
        .flatten()
        .filter(|name| {
            let name = name.as_bytes();
            // Owners are kept in user.containers.*, and the overlay marks are its own affair.
            name.starts_with(b"user.")
                && !name.starts_with(b"user.containers.")
                && !name.starts_with(b"user.overlay.")
                && !name.starts_with(b"user.coracle.")
        })
        .map(|name| {
            let value = xattr::get(path, &name).ok().flatten().unwrap_or_default();
            format!(" {}={}", escape(name.as_bytes()), escape(&value))
        })
        .collect();
    found.sort();
    found.concat()
}

fn describe(path: &Path, name: &str) -> std::io::Result<String> {
    let meta = std::fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    use std::os::unix::fs::FileTypeExt as _;
    let (letter, content) = if kind.is_dir() {
        ('d', String::from("-"))
    } else if kind.is_symlink() {
        (
            'l',
            escape(std::fs::read_link(path)?.as_os_str().as_bytes()),
        )
    } else if kind.is_file() {
        ('f', digest(&std::fs::read(path)?))
    } else if kind.is_fifo() {
        ('p', String::from("-"))
    } else {
        let letter = if kind.is_char_device() { 'c' } else { 'b' };
        (letter, format!("{:#x}", meta.rdev()))
    };
    let size = if kind.is_dir() { 0 } else { meta.size() };
    let links = if kind.is_dir() {
        "-".to_owned()
    } else {
        meta.nlink().to_string()
    };
    let extra = if kind.is_dir() || kind.is_file() {
        xattrs(path)
    } else {
        String::new()
    };
    Ok(format!(
        "{name} {letter} {:04o} {links} {size} {}.{:09} {content}{extra}\n",
        meta.mode() & 0o7777,
        meta.mtime(),
        meta.mtime_nsec()
    ))
}

/// The lines of a tree, sorted; names that start with one of `skip` are left out.
pub fn tree(root: &Path, skip: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) => {
                lines.push(format!("{} cannot be listed: {e}\n", dir.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = escape(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
            if skip
                .iter()
                .any(|s| name == *s || name.starts_with(&format!("{s}/")))
            {
                continue;
            }
            match describe(&path, &name) {
                Ok(line) => lines.push(line),
                Err(e) => lines.push(format!("{name} cannot be read: {e}\n")),
            }
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                todo.push(path);
            }
        }
    }
    lines.sort();
    lines
}

/// The program: `--walk DIR [SKIP...]`.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let root = PathBuf::from(args.next().unwrap());
    let skip: Vec<String> = args.map(|a| a.to_string_lossy().into_owned()).collect();
    let mut out = std::io::stdout().lock();
    for line in tree(&root, &skip) {
        out.write_all(line.as_bytes()).unwrap();
    }
    ExitCode::SUCCESS
}
