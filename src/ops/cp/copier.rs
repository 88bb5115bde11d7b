//! The copier: this program in a container, with pipes for its streams. It is told what to do, does it, says how
//! that went, and ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::BUFFER;
use super::place::{self, Place};
use super::wire::{self, Job, Looked, Report};
use crate::layer::pack::Notes;
use crate::layer::plain::{self, Reading, ShownOwners, Writing};

/// argv[0] by which the executable knows that it is the copier.
pub(crate) const NAME: &str = "coracle-cp";

/// What the kernel makes anew in each container, and nobody wants a copy of.
const KERNELS: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// `main` of the copier: its argument is a path, absolute in the container.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> u8 {
    let Some(path) = args.next().map(PathBuf::from) else {
        return 125;
    };
    match serve(path) {
        Ok(()) => 0,
        // Nobody listens any more.
        Err(_) => 1,
    }
}

fn serve(path: PathBuf) -> io::Result<()> {
    let [input, output, errors] = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ]
    .map(|fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from));
    let (input, output) = (input?, output?);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty())?;
    let found = place::find(Some(root.as_fd()), &path);
    let seen: Looked = match &found {
        Ok(place) => Ok(place.seen()),
        Err(e) => Err(e.raw_os_error().unwrap_or(libc::EIO)),
    };
    wire::send(&output, &seen)?;
    let Ok(place) = found else {
        return Ok(());
    };
    let job = wire::receive(&input)?;
    let report = match work(place, job, &root, input, output) {
        Ok(notes) => Report {
            notes,
            ..Report::default()
        },
        Err(e) => Report {
            hint: e.hint().map(str::to_owned),
            error: Some(whole(&e)),
            notes: Notes::default(),
        },
    };
    wire::send(errors?, &report)
}

fn work(
    place: Place,
    job: Job,
    root: &OwnedFd,
    input: File,
    output: File,
) -> Result<Notes, plain::Error> {
    match job {
        Job::Read { name, owner } => {
            let reading = Reading {
                name,
                owners: owner.map_or(ShownOwners::Own, |(uid, gid)| ShownOwners::One(uid, gid)),
                without: match place.is(root.as_fd()) {
                    true => KERNELS.to_vec(),
                    false => Vec::new(),
                },
                lenient: true,
            };
            let output = BufWriter::with_capacity(BUFFER, output);
            plain::read(place.source(), &reading, output)
        }
        Job::Write {
            target,
            owners,
            overwrite,
        } => {
            let (dir, naming) = place.target(target).map_err(plain::Error::Output)?;
            let writing = Writing {
                naming,
                owners,
                overwrite,
                inside: true,
            };
            plain::write(input, dir.as_fd(), &writing)
        }
    }
}

/// The message with those of its sources.
fn whole(e: &plain::Error) -> String {
    let mut message = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(s) = source {
        message.push_str(": ");
        message.push_str(&s.to_string());
        source = s.source();
    }
    message
}
