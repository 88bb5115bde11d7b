//! An archive of a few files with contents from anywhere: what images are saved in.

use std::io::{self, Read, Write};

use super::archive::{Archive, Entry, Kind};

/// A tar of plain files of root, without times: the same files are the same bytes.
#[derive(Debug)]
pub struct Files<W>(Archive<W>);

impl<W: Write> Files<W> {
    /// A tar that goes to `out`.
    pub fn new(out: W) -> Self {
        Self(Archive::new(out))
    }

    /// A directory.
    pub fn dir(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, Kind::Dir, 0o755)
    }

    /// A file of exactly `size` bytes.
    pub fn file(&mut self, path: &str, size: u64, content: impl Read) -> io::Result<()> {
        self.entry(path, Kind::File(size), 0o644)?;
        let mut content = content.take(size);
        let mut buffer = vec![0; 128 << 10];
        while self.0.left() > 0 {
            match content.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.0.data(&buffer[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The end, without which readers complain.
    pub fn finish(self) -> io::Result<()> {
        self.0.finish().map(drop)
    }

    fn entry(&mut self, path: &str, kind: Kind<'_>, mode: u32) -> io::Result<()> {
        self.0.entry(&Entry {
            path: path.as_bytes(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_and_a_short_one_is_an_error() {
        let mut tar = Vec::new();
        let mut files = Files::new(&mut tar);
        files.dir("d").unwrap();
        files.file("d/f", 3, &b"abcdef"[..]).unwrap();
        files.file("empty", 0, io::empty()).unwrap();
        files.finish().unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let sizes: Vec<u64> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().size())
            .collect();
        assert_eq!(sizes, [0, 3, 0]);
        let short = Files::new(Vec::new()).file("f", 4, &b"abc"[..]);
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
