//! Blob to tar: sniff, inflate, and hand over in recycled buffers.
//!
//! One thread reads and inflates; the caller's thread consumes. They meet in two bounded channels,
//! full buffers one way and empty ones the other, so that memory is `BUFFERS * BUFFER` however long
//! the blob is. Every buffer but the last is full and its length a multiple of 512, so a tar block
//! never straddles two.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Error;
use super::stream::Tar;

/// Bytes in a buffer. Large, so that the threads seldom wait for each other: on a busy machine a
/// woken thread waits milliseconds for its turn, and a quarter of this size cost a fifth more wall
/// time at the same CPU time. Most files are then written with one system call, too.
pub(super) const BUFFER: usize = 1 << 20;
/// Buffers in flight, 4 MiB a layer.
const BUFFERS: usize = 4;
/// Compressed bytes read at a time.
const INPUT: usize = 64 << 10;

/// A buffer and how much of it is filled.
pub(super) type Filled = Result<(Vec<u8>, usize), Error>;

/// Run `consume` on the inflated `blob`. `buffer` is a multiple of 512.
pub(super) fn pipeline<T>(
    blob: impl Read + Send,
    buffer: usize,
    max_bytes: u64,
    consume: impl FnOnce(&mut Tar) -> Result<T, Error>,
) -> Result<T, Error> {
    let (full_tx, full_rx) = sync_channel::<Filled>(BUFFERS);
    let (empty_tx, empty_rx) = sync_channel::<Vec<u8>>(BUFFERS);
    for _ in 0..BUFFERS {
        // Cannot fail: the channel has room for all of them and its receiver is alive.
        let _ = empty_tx.try_send(vec![0; buffer]);
    }
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || {
                if let Err(e) = inflate(blob, &empty_rx, &full_tx) {
                    // Nobody listens any more when the consumer failed first: its error counts.
                    let _ = full_tx.send(Err(e));
                }
            })
            .map_err(Error::Thread)?;
        let mut tar = Tar::new(full_rx, empty_tx, max_bytes);
        let result = consume(&mut tar);
        // Closes both channels, so that the worker ends at its next send or receive.
        drop(tar);
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
        result
    })
}

fn inflate(
    blob: impl Read,
    empty: &Receiver<Vec<u8>>,
    full: &SyncSender<Filled>,
) -> Result<(), Error> {
    let mut input = BufReader::with_capacity(INPUT, Source { blob, failed: None });
    let (format, source) = match sniff(&mut input)? {
        Format::Plain => ("tar", pump(&mut input, empty, full)),
        Format::Gzip => {
            let mut gz = flate2::bufread::MultiGzDecoder::new(&mut input);
            ("gzip", pump(&mut gz, empty, full))
        }
        Format::Zstd => {
            let source = zstd::stream::read::Decoder::with_buffer(&mut input)
                .and_then(|mut z| pump(&mut z, empty, full));
            ("zstd", source)
        }
    };
    // The blob's own failure, not what the decoder made of it.
    match (input.get_mut().failed.take(), source) {
        (Some(e), _) => Err(Error::Read(e)),
        (None, Err(source)) => Err(Error::Inflate { format, source }),
        (None, Ok(())) => Ok(()),
    }
}

/// Fill buffers until the end of the tar, or until nobody wants more.
fn pump(
    from: &mut impl Read,
    empty: &Receiver<Vec<u8>>,
    full: &SyncSender<Filled>,
) -> io::Result<()> {
    while let Ok(mut buf) = empty.recv() {
        let mut len = 0;
        while len < buf.len() {
            match from.read(&mut buf[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let last = len < buf.len();
        if full.send(Ok((buf, len))).is_err() || last {
            break;
        }
    }
    Ok(())
}

enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// Tell the format by the first bytes. What is none of the known compressions counts as tar; the
/// first header's checksum decides.
fn sniff(input: &mut BufReader<Source<impl Read>>) -> Result<Format, Error> {
    let filled = loop {
        match input.fill_buf() {
            Ok(_) => break Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    if let Err(e) = filled {
        return Err(Error::Read(input.get_mut().failed.take().unwrap_or(e)));
    }
    Ok(match input.buffer() {
        [0x1f, 0x8b, ..] => Format::Gzip,
        // A frame, or a skippable frame in front of one (RFC 8878, 3.1).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(Error::Compression("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => {
            return Err(Error::Compression("bzip2"));
        }
        _ => Format::Plain,
    })
}

/// The blob, fused at its first error, which is kept: a decoder might wrap or reword it. Reads at
/// least four bytes at first, so that a reader that trickles cannot defeat [`sniff`].
struct Source<R> {
    blob: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failed.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        let mut len = 0;
        // A short read would make the decoder start anew for every packet of the network.
        while len < buf.len().min(16) {
            match self.blob.read(&mut buf[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.failed = Some(e);
                    // What came before the error is of no use: the blob is lost.
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        Ok(len)
    }
}
