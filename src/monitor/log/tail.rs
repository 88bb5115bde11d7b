//! Where the last lines of a log begin, found from its end.

use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memrchr;

use super::files::Part;
use super::record::{HEADER, RECORD_MAX, Record, TIME};

/// A place in a log: which file, counted from the oldest, and where in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: usize,
    pub(super) offset: u64,
}

const WINDOW: usize = 4 * RECORD_MAX;

/// How far behind the last wanted line is looked for the beginning of one that the other stream has not ended. A line
/// that is spread further is cut.
const FURTHER: u64 = 1 << 20;

/// Of each stream, the place of its first record among the last `lines` lines that are not younger than `until`. The
/// records of a line need not follow each other: the other stream's may stand between.
pub(super) fn places(
    parts: &[Part],
    lines: u64,
    until: Option<&[u8; TIME]>,
) -> io::Result<[Place; 2]> {
    let mut search = Search {
        wanted: lines,
        until,
        streams: [Begin::Unseen; 2],
        cut: None,
        further: FURTHER,
    };
    let end = Place {
        part: parts.len().saturating_sub(1),
        offset: match parts.last() {
            Some(part) => part.size()?,
            None => 0,
        },
    };
    if lines == 0 && until.is_none() {
        return Ok([end; 2]);
    }
    'parts: for (number, part) in parts.iter().enumerate().rev() {
        let mut buffer = vec![0; WINDOW];
        let mut end = part.size()?;
        while end > 0 {
            let from = end.saturating_sub(WINDOW as u64);
            // The difference is at most a window.
            let window = &mut buffer[..(end - from) as usize];
            if part.file.read_exact_at(window, from).is_err() {
                // Somebody emptied it.
                continue 'parts;
            }
            // What follows the last line end is no record yet.
            let mut stop = memrchr(b'\n', window).map_or(0, |at| at + 1);
            while stop > 0 {
                let begin = match memrchr(b'\n', &window[..stop - 1]) {
                    Some(at) => at + 1,
                    None if from == 0 => 0,
                    // The rest of it is in the next window.
                    None => break,
                };
                let place = Place {
                    part: number,
                    offset: from + begin as u64,
                };
                if let Some(record) = Record::parse(&window[begin..stop - 1])
                    && search.visit(place, &record)
                {
                    break 'parts;
                }
                stop = begin;
            }
            // A window without the whole of a record is none of ours.
            let begun = from + stop as u64;
            end = if stop > 0 && begun < end { begun } else { from };
        }
    }
    Ok(search.result())
}

struct Search<'a> {
    wanted: u64,
    until: Option<&'a [u8; TIME]>,
    streams: [Begin; 2],
    /// The youngest record that is not wanted, once there are enough lines.
    cut: Option<Place>,
    further: u64,
}

/// What is known of a stream's first record.
#[derive(Clone, Copy)]
enum Begin {
    Unseen,
    /// It is this one, or one before it that this continues.
    Perhaps(Place),
    Certain(Place),
}

impl Search<'_> {
    /// The next record, from the youngest to the oldest; true when there is nothing left to find out.
    fn visit(&mut self, place: Place, record: &Record<'_>) -> bool {
        if self.until.is_some_and(|until| record.time > until) {
            return false;
        }
        let stream = &mut self.streams[record.stream as usize];
        match *stream {
            Begin::Certain(_) => {}
            // It ends the line before.
            Begin::Perhaps(begin) if record.whole && self.wanted == 0 => {
                *stream = Begin::Certain(begin);
            }
            Begin::Perhaps(_) => {
                self.wanted -= u64::from(record.whole);
                *stream = Begin::Perhaps(place);
            }
            Begin::Unseen if self.wanted > 0 => {
                self.wanted -= 1;
                *stream = Begin::Perhaps(place);
            }
            Begin::Unseen => {
                *stream = Begin::Certain(Place {
                    offset: place.offset + 1,
                    ..place
                });
            }
        }
        if self.wanted > 0 {
            return false;
        }
        match self.cut {
            None if matches!(self.streams[record.stream as usize], Begin::Certain(_)) => {
                self.cut = Some(place);
            }
            None => {}
            Some(_) => {
                let length = (HEADER + record.data.len()) as u64;
                self.further = self.further.saturating_sub(length);
            }
        }
        let open = |b: &Begin| matches!(b, Begin::Perhaps(_));
        self.cut.is_some() && (self.further == 0 || !self.streams.iter().any(open))
    }

    fn result(&self) -> [Place; 2] {
        self.streams.map(|begin| match (begin, self.cut) {
            (Begin::Perhaps(place) | Begin::Certain(place), _) => place,
            // None of its lines is among the last.
            (Begin::Unseen, Some(cut)) => cut,
            (Begin::Unseen, None) => Place::default(),
        })
    }
}
