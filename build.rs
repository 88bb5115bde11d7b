//! Tells the linker to lay the functions that a start runs side by side (`src/startup.ld`): scattered over
//! the program they cost some forty page faults more, a tenth of the CPU time of `coracle run`. The names
//! in that file need not exist: what is not found is left where it was.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=src/startup.ld");
    println!("cargo::rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    // GNU ld and LLD, the default, read such a script; mold does not.
    let other_linker =
        env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("mold"));
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && !other_linker {
        let top = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-T{top}/src/startup.ld");
    }
}
