//! Tells the linker two things about the release program (GNU ld and LLD, the default, read such scripts; mold does not):
//!
//! - `src/startup.ld`: to lay the functions that a start runs side by side. Scattered over the program they cost some
//!   forty page faults more, a tenth of the CPU time of `coracle run`. The names in that file need not exist: what is
//!   not found is left where it was.
//! - `src/unwind.ld`: to leave out the tables for unwinding, a twelfth of the file. A panic aborts, and nothing else
//!   would read them; what is lost are the addresses that `RUST_BACKTRACE` shows of a program without symbols.

use std::env;

fn main() {
    let scripts = ["src/startup.ld", "src/unwind.ld"];
    for script in scripts {
        println!("cargo::rerun-if-changed={script}");
    }
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    let other_linker =
        env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("mold"));
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !other_linker {
        let top = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for script in scripts {
            println!("cargo::rustc-link-arg-bins=-T{top}/{script}");
        }
    }
}
