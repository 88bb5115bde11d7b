//! The program's entry point, instead of the standard library's, which reads /proc/self/maps to find the end
//! of the stack and makes a second one for its message about an overflow: some 40 µs and 20 system calls,
//! 2 % of the CPU time of a container's start. What matters of it is done here.

use std::io;

/// Define `main` of a program as a function without arguments that returns the exit code.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // The name that the C library's start-up code calls.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::sys::start::enter($main)
        }
    };
}

/// Call `main` as the standard library would, and exit with its result, flushing standard output.
pub fn enter(main: fn() -> u8) -> ! {
    if fill_standard_descriptors().is_err() {
        std::process::abort();
    }
    // A closed pipe is an error of write(2), not the end.
    // SAFETY: SIG_IGN is a valid disposition, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    std::process::exit(main().into())
}

/// A caller that closed 0, 1 or 2 gets the null device there: else the next file that is opened would be
/// taken for standard output.
fn fill_standard_descriptors() -> io::Result<()> {
    let mut standard = [0, 1, 2].map(|fd| libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    });
    // SAFETY: the array lives until the call returns, and its length is passed.
    while unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) } < 0 {
        let e = io::Error::last_os_error();
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
    for one in standard {
        if one.revents & libc::POLLNVAL == 0 {
            continue;
        }
        // It takes the lowest free number, which is this one.
        // SAFETY: the path is a C string; nobody else owns the descriptor, which stays open for good.
        if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
