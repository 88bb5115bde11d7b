//! Budgets that can be counted, and so hold on a busy machine, too. Times are `scripts/bench`'s subject.

use crate::harness::{Done, Env, Skip};

suite!(a_start_touches_few_pages);

/// The fewest minor page faults that one of some runs of a command takes, with all it waits for.
const FAULTS: &str = "import resource, subprocess, sys
def run():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    subprocess.run(sys.argv[1:], check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
print(min(run() for _ in range(5)))";

/// A page fault costs 2 µs and more, and a start is little else than 400 system calls and these. They grow
/// when functions of a start lie scattered in the program (`scripts/update-startup-order` writes the
/// order anew) and with each page of the heap.
fn a_start_touches_few_pages(e: &Env) -> Done {
    e.coracle_only("its own memory")?;
    if std::env::var_os("CORACLE_BIN").is_none() {
        return Err(Skip(
            "only of a release build, which CORACLE_BIN names".to_owned(),
        ));
    }
    let image = e.image("busybox");
    let count = |identity: &str| -> u32 {
        let counted = ["/usr/bin/python3", "-c", FAULTS];
        let run = ["coracle", "run", "--rm", "--network=none"];
        let what = [&format!("--identity={identity}"), &image, "/bin/true"];
        let out = e.user(counted).args(run).args(what).ok().out();
        out.trim().parse().unwrap()
    };
    let (one_id, emulated) = (count("off"), count("full"));
    assert!(one_id <= ONE_ID, "{one_id} page faults with one id");
    assert!(
        emulated <= EMULATED,
        "{emulated} page faults with emulated identities"
    );
    Ok(())
}

/// What it takes, and a tenth more.
const ONE_ID: u32 = 130;
const EMULATED: u32 = 215;
