//! A tar as it comes, in pieces of any size: which bytes are content of files, and what the entries are.
//!
//! The other way round than [`Entries`](crate::layer::entry::Entries), which asks for bytes: an encoder is given them.
//! What an entry is, is read by the same code. What we cannot describe as other readers would is not described at all.

use tar::Header;

use crate::layer::entry::{Extra, Fields, Owner, size_field};
use crate::layer::header::checksum_ok;
use crate::layer::stream::{BLOCK, padding};

/// Longest header that describes the next entry: as the default limits of unpacking.
const PAYLOAD_MAX: u64 = 1 << 20;

/// The tar has something that the table of contents has no words for, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit(pub(super) &'static str);

/// An entry whose headers are complete.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) fields: Fields,
    /// Bytes of content that follow.
    pub(super) content: u64,
}

/// What the next bytes are.
pub(super) struct Step {
    /// How many, at least one.
    pub(super) len: usize,
    /// Content of the last entry, or all else.
    pub(super) content: bool,
    /// They complete the headers of this entry.
    pub(super) entry: Option<Box<Entry>>,
}

enum State {
    /// In a header block.
    Header,
    /// In the data of a header that describes the next entry: type, bytes to come, padding after them.
    Payload(u8, u64, u64),
    Content(u64, u64),
    Padding(u64),
    /// After the end of the archive.
    End,
}

pub(super) struct Scan {
    state: State,
    block: Vec<u8>,
    data: Vec<u8>,
    extra: Extra,
    global: Owner,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self {
            state: State::Header,
            block: Vec::with_capacity(BLOCK),
            data: Vec::new(),
            extra: Extra::default(),
            global: Owner::default(),
        }
    }

    /// Look at the next bytes, of which there are some.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, Unfit> {
        let up_to = |n: u64| usize::try_from(n).map_or(bytes.len(), |n| n.min(bytes.len()));
        let mut step = Step {
            len: bytes.len(),
            content: false,
            entry: None,
        };
        match &mut self.state {
            State::End => {}
            State::Header => {
                step.len = bytes.len().min(BLOCK - self.block.len());
                self.block.extend_from_slice(&bytes[..step.len]);
                if self.block.len() == BLOCK {
                    step.entry = self.header()?;
                    self.block.clear();
                }
            }
            State::Payload(flag, left, pad) => {
                step.len = up_to(*left);
                self.data.extend_from_slice(&bytes[..step.len]);
                *left -= step.len as u64;
                if *left == 0 {
                    let (flag, pad) = (*flag, *pad);
                    self.payload(flag)?;
                    self.state = padded(pad);
                }
            }
            State::Content(left, pad) => {
                step.len = up_to(*left);
                step.content = true;
                *left -= step.len as u64;
                if *left == 0 {
                    self.state = padded(*pad);
                }
            }
            State::Padding(left) => {
                step.len = up_to(*left);
                *left -= step.len as u64;
                if *left == 0 {
                    self.state = State::Header;
                }
            }
        }
        Ok(step)
    }

    fn header(&mut self) -> Result<Option<Box<Entry>>, Unfit> {
        if self.block.iter().all(|b| *b == 0) {
            self.state = State::End;
            return Ok(None);
        }
        if !checksum_ok(&self.block) {
            return Err(Unfit("a header with a wrong checksum"));
        }
        let header = Header::from_byte_slice(&self.block).clone();
        let flag = header.as_old().linkflag[0];
        if matches!(flag, b'L' | b'K' | b'x' | b'g') {
            let size = size_field(&header).map_err(|_| Unfit("a malformed size"))?;
            if size > PAYLOAD_MAX {
                return Err(Unfit("a header that is too large"));
            }
            self.data.clear();
            self.state = match size {
                0 => {
                    self.payload(flag)?;
                    State::Header
                }
                _ => State::Payload(flag, size, padding(size)),
            };
            return Ok(None);
        }
        let extra = std::mem::take(&mut self.extra);
        let fields =
            (extra.fields(&header, self.global)).map_err(|_| Unfit("a malformed number"))?;
        // Other readers disagree on the size of what has holes.
        if flag == b'S' || fields.sparse.is_sparse() {
            return Err(Unfit("a sparse file"));
        }
        let content = match flag {
            0 if fields.path.ends_with(b"/") => 0,
            0 | b'0' | b'7' => fields.size,
            b'1'..=b'6' => 0,
            _ => return Err(Unfit("an entry of an unknown type")),
        };
        self.state = match content {
            0 => State::Header,
            n => State::Content(n, padding(n)),
        };
        Ok(Some(Box::new(Entry {
            header,
            fields,
            content,
        })))
    }

    /// The data of a header that describes the next entry is complete.
    fn payload(&mut self, flag: u8) -> Result<(), Unfit> {
        let malformed = |_| Unfit("a malformed PAX header");
        let name = || {
            let end = self.data.iter().position(|b| *b == 0);
            self.data[..end.unwrap_or(self.data.len())].to_vec()
        };
        match flag {
            b'L' => self.extra.long_name = Some(name()),
            b'K' => self.extra.long_link = Some(name()),
            b'x' => self.extra.take(&self.data).map_err(malformed)?,
            _ => self.global.take(&self.data).map_err(malformed)?,
        }
        Ok(())
    }
}

fn padded(n: u64) -> State {
    match n {
        0 => State::Header,
        n => State::Padding(n),
    }
}
