//! The inflated tar as a stream of blocks and slices, hashed on the way, and recorded if somebody asked for it.

use std::sync::mpsc::{Receiver, SyncSender};

use super::Error;
use super::inflate::Filled;
use super::recipe;
use crate::oci::{Algorithm, Digest, Digester};

/// A tar block.
pub(super) const BLOCK: usize = 512;

/// Consumer's end of the pipeline.
pub(super) struct Tar {
    full: Receiver<Filled>,
    empty: SyncSender<Vec<u8>>,
    buf: Vec<u8>,
    pos: usize,
    len: usize,
    /// Bytes received, the current buffer included.
    received: u64,
    max_bytes: u64,
    hash: Digester,
    /// Gets all bytes but those that [`Tar::content`] hands out.
    pub(super) recipe: Option<recipe::Writer>,
}

impl Tar {
    pub(super) fn new(full: Receiver<Filled>, empty: SyncSender<Vec<u8>>, max_bytes: u64) -> Self {
        Self {
            full,
            empty,
            buf: Vec::new(),
            pos: 0,
            len: 0,
            received: 0,
            max_bytes,
            hash: Digester::new(Algorithm::Sha256),
            recipe: None,
        }
    }

    /// Bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.received - (self.len - self.pos) as u64
    }

    /// Make sure that there is at least one byte in the buffer; false at the end.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.pos == self.len {
            if !self.buf.is_empty() {
                // The worker may have ended: then nobody needs the buffer.
                let _ = self.empty.try_send(std::mem::take(&mut self.buf));
                (self.pos, self.len) = (0, 0);
            }
            // A closed channel is the end: a worker that fails says so first.
            let Ok(next) = self.full.recv() else {
                return Ok(false);
            };
            (self.buf, self.len) = next?;
            self.pos = 0;
            self.received += self.len as u64;
            if self.received > self.max_bytes {
                return Err(Error::TooLarge(self.max_bytes));
            }
            self.hash.update(&self.buf[..self.len]);
        }
        Ok(true)
    }

    fn truncated(&self) -> Error {
        Error::Truncated(self.received)
    }

    /// The next block, or `None` at the end of the stream.
    pub(super) fn block(&mut self) -> Result<Option<&[u8]>, Error> {
        if !self.fill()? {
            return Ok(None);
        }
        if self.len - self.pos < BLOCK {
            return Err(self.truncated());
        }
        self.pos += BLOCK;
        self.record(self.pos - BLOCK)?;
        Ok(Some(&self.buf[self.pos - BLOCK..self.pos]))
    }

    /// What was consumed of the buffer since `from` is in no file.
    fn record(&mut self, from: usize) -> Result<(), Error> {
        match &mut self.recipe {
            Some(recipe) => recipe.inline(&self.buf[from..self.pos]),
            None => Ok(()),
        }
    }

    /// Between 1 and `max` bytes of the stream; `max` is not 0.
    pub(super) fn chunk(&mut self, max: u64) -> Result<&[u8], Error> {
        let len = self.content(max)?.len();
        self.record(self.pos - len)?;
        Ok(&self.buf[self.pos - len..self.pos])
    }

    /// The same for what the caller writes to a file, and has told the recipe of.
    pub(super) fn content(&mut self, max: u64) -> Result<&[u8], Error> {
        if !self.fill()? {
            return Err(self.truncated());
        }
        let n = usize::try_from(max)
            .unwrap_or(usize::MAX)
            .min(self.len - self.pos);
        self.pos += n;
        Ok(&self.buf[self.pos - n..self.pos])
    }

    /// Pass over `n` bytes.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<(), Error> {
        while n > 0 {
            n -= self.chunk(n)?.len() as u64;
        }
        Ok(())
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Error> {
        Ok(!self.fill()?)
    }

    /// Append the next `n` bytes to `out`, which the caller has bounded.
    pub(super) fn read(&mut self, mut n: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        while n > 0 {
            let chunk = self.chunk(n)?;
            out.extend_from_slice(chunk);
            n -= chunk.len() as u64;
        }
        Ok(())
    }

    /// Read to the end. Returns the digest and length of the whole stream.
    pub(super) fn finish(&mut self) -> Result<(Digest, u64), Error> {
        while self.fill()? {
            let from = std::mem::replace(&mut self.pos, self.len);
            self.record(from)?;
        }
        Ok((self.hash.clone().finish(), self.received))
    }
}

/// Bytes from the end of `size` bytes of content to the next block.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
