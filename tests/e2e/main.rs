//! End-to-end tests: they drive the real binary as an unprivileged user, on real images and a real
//! registry.
//!
//! - The suite may be started by root or by an ordinary user. As root it makes a user without a
//!   subordinate-id range and runs everything as that user, with `no_new_privs`, an empty environment
//!   and a `PATH` without `newuidmap`, in a mount namespace of its own.
//! - A test that needs a feature says so with [`Env::need`](harness::Env::need); a skip is a result
//!   with a reason. With `CI=true`, skipping a test of `must-not-skip.txt` fails the run.
//! - `E2E_RUNTIME=podman` runs the conformance part against podman: it tests the tests.
//! - `CORACLE_BIN` names the binary to test; the default is the one cargo built.
//! - `E2E_RACE_SECONDS` is how long the tests of races take; the default is a minute.
//! - `E2E_KEEP=1` keeps the directories of the tests.

// Tests may panic: that is how they fail. The lints on output are for the product.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub
)]

/// The tests of a file, as (name, function). A test that is not listed is dead code, and that is an
/// error.
macro_rules! suite {
    ($($test:ident),* $(,)?) => {
        pub const TESTS: &[$crate::Test] = &[$((stringify!($test), $test)),*];
    };
}

mod harness;

mod additional;
mod artifacts;
mod budgets;
mod build;
mod chunked;
mod commit;
mod copy;
mod cp;
mod crash;
mod events;
mod exec;
mod exit_codes;
mod find;
mod hostile;
mod identity;
mod identity_acl;
mod identity_chown;
mod identity_copied;
mod identity_exec;
mod identity_packages;
mod identity_sockets;
mod images;
mod inspect;
mod leaks;
mod lifecycle;
mod login;
mod logs;
mod manifests;
mod nested;
mod oci_attacks;
mod oci_callers;
mod oci_config;
mod oci_life;
mod oci_root;
mod podman_habits;
mod ps_rm;
mod pull_policy;
mod pull_registry;
mod push;
mod registries;
mod round_trips;
mod run_basic;
mod run_env;
mod run_first;
mod run_identity;
mod run_mounts;
mod run_security;
mod run_signals;
mod run_tty;
mod save_export;
mod secrets;
mod signatures;
mod stats;
mod storage_drivers;
mod stress;
mod unanswered;
mod unpack_vs_umoci;
mod update;
mod volumes;
mod volumes_care;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

use harness::{Done, Env, Machine, Runtime, skips, walk};

/// One test: its name within its file, and what it does.
type Test = (&'static str, fn(&Env) -> Done);

/// File, its tests, and whether they describe what every runtime must do (and so run on the peer too).
const SUITES: &[(&str, &[Test], bool)] = &[
    ("additional", additional::TESTS, false),
    ("artifacts", artifacts::TESTS, false),
    ("budgets", budgets::TESTS, false),
    ("chunked", chunked::TESTS, false),
    ("build", build::TESTS, false),
    ("commit", commit::TESTS, false),
    ("copy", copy::TESTS, false),
    ("cp", cp::TESTS, false),
    ("crash", crash::TESTS, false),
    ("exec", exec::TESTS, false),
    ("events", events::TESTS, false),
    ("exit_codes", exit_codes::TESTS, true),
    ("find", find::TESTS, false),
    ("hostile", hostile::contents::TESTS, false),
    ("hostile", hostile::documents::TESTS, false),
    ("hostile", hostile::paths::TESTS, false),
    ("hostile", hostile::registry::TESTS, false),
    ("hostile", hostile::sizes::TESTS, false),
    ("identity", identity::archives::TESTS, false),
    ("identity", identity::busybox::TESTS, false),
    ("identity", identity::calls::TESTS, false),
    ("identity", identity::distributions::TESTS, false),
    ("identity", identity::hostile::TESTS, false),
    ("identity", identity::i386::TESTS, false),
    ("identity", identity::modes::TESTS, false),
    ("identity", identity::owners::TESTS, false),
    ("identity", identity::races::TESTS, false),
    ("identity", identity::users::TESTS, false),
    ("identity_acl", identity_acl::TESTS, false),
    ("identity_copied", identity_copied::TESTS, false),
    ("identity_exec", identity_exec::TESTS, false),
    ("identity_chown", identity_chown::TESTS, false),
    ("identity_packages", identity_packages::TESTS, false),
    ("identity_sockets", identity_sockets::TESTS, false),
    ("images", images::TESTS, false),
    ("inspect", inspect::TESTS, false),
    ("leaks", leaks::TESTS, false),
    ("lifecycle", lifecycle::TESTS, false),
    ("login", login::TESTS, false),
    ("logs", logs::TESTS, false),
    ("manifests", manifests::TESTS, false),
    ("nested", nested::TESTS, false),
    ("oci_attacks", oci_attacks::TESTS, false),
    ("oci_callers", oci_callers::TESTS, false),
    ("oci_config", oci_config::TESTS, false),
    ("oci_life", oci_life::TESTS, false),
    ("oci_root", oci_root::TESTS, false),
    ("podman_habits", podman_habits::TESTS, false),
    ("ps_rm", ps_rm::TESTS, false),
    ("pull_policy", pull_policy::TESTS, false),
    ("pull_registry", pull_registry::TESTS, false),
    ("registries", registries::TESTS, false),
    ("push", push::TESTS, false),
    ("round_trips", round_trips::TESTS, false),
    ("run_basic", run_basic::TESTS, true),
    ("run_first", run_first::TESTS, false),
    ("run_env", run_env::TESTS, true),
    ("run_identity", run_identity::TESTS, true),
    ("run_mounts", run_mounts::TESTS, true),
    ("run_security", run_security::TESTS, true),
    ("run_signals", run_signals::TESTS, true),
    ("run_tty", run_tty::TESTS, true),
    ("save_export", save_export::TESTS, false),
    ("secrets", secrets::TESTS, false),
    ("signatures", signatures::TESTS, false),
    ("storage_drivers", storage_drivers::TESTS, false),
    ("stats", stats::TESTS, false),
    ("stress", stress::TESTS, false),
    ("unanswered", unanswered::TESTS, false),
    ("update", update::TESTS, false),
    ("unpack_vs_umoci", unpack_vs_umoci::TESTS, false),
    ("volumes", volumes::TESTS, false),
    ("volumes_care", volumes_care::TESTS, false),
];

fn main() -> ExitCode {
    let mut argv = std::env::args_os().skip(1);
    if argv.next().is_some_and(|a| a == "--walk") {
        return walk::main(argv);
    }
    let mut args = Arguments::from_args();
    if args.list {
        return libtest_mimic::run(&args, trials()).exit_code();
    }
    // Two cores: more threads only make time limits flaky.
    args.test_threads.get_or_insert(4);
    harness::enter_own_mount_namespace();
    Machine::set_up();
    let conclusion = libtest_mimic::run(&args, trials());
    Machine::tear_down();
    let allowed = skips::report(args.filter.is_none() && !args.exact, &names());
    if allowed {
        conclusion.exit_code()
    } else {
        ExitCode::FAILURE
    }
}

fn names() -> Vec<String> {
    SUITES
        .iter()
        .flat_map(|(file, tests, _)| tests.iter().map(move |(name, _)| format!("{file}::{name}")))
        .collect()
}

fn trials() -> Vec<Trial> {
    let peer = Runtime::from_env() != Runtime::Coracle;
    SUITES
        .iter()
        .filter(|(_, _, conformance)| *conformance || !peer)
        .flat_map(|(file, tests, _)| {
            tests.iter().map(move |&(name, test)| {
                let full = format!("{file}::{name}");
                Trial::ignorable_test(full.clone(), move || match test(&Env::new(&full)) {
                    Ok(()) => Ok(Completion::Completed),
                    Err(skip) => {
                        skips::record(&full, &skip.0);
                        Ok(Completion::ignored_with(skip.0))
                    }
                })
            })
        })
        .collect()
}
