//! Budgets that can be counted, and so hold on a busy machine, too. Times are `scripts/bench`'s subject.

use crate::harness::{Done, Env, Feature, Skip};

suite!(
    a_start_touches_few_pages,
    a_list_of_images_takes_three_calls_each
);

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

/// Names of images in a list of which the system calls are counted.
const IMAGES: usize = 500;

/// `images` with many of them, of fourteen layers each: open, read and close of a small record, and nothing else.
fn a_list_of_images_takes_three_calls_each(e: &Env) -> Done {
    e.need(Feature::Program("strace"))?;
    let own = e.with_own_store();
    own.image("nasty14");
    let dir = own.root().join("images");
    let first = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap();
    let record = std::fs::read_to_string(first.path()).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    for n in 1..IMAGES {
        let name = format!("localhost/many:{n}");
        let digest = coracle::oci::Digest::of(name.as_bytes());
        record["reference"] = name.into();
        record["id"] = digest.to_string().into();
        let path = dir.join(format!("tag-{}.json", digest.hex()));
        std::fs::write(&path, record.to_string()).unwrap();
        e.give(&path);
    }
    let trace = e.dir.join("own/calls");
    let out = own
        .user(["/usr/bin/strace", "-f", "-o"])
        .arg(&trace)
        .args(["coracle", "images"])
        .ok()
        .out();
    assert_eq!(out.lines().count(), IMAGES + 1);
    let trace = std::fs::read_to_string(&trace).unwrap();
    // A debug build looks whether what it closes is open.
    let calls = trace.lines().filter(|l| !l.contains(" fcntl(")).count();
    assert!(
        calls < 3 * IMAGES + 150,
        "{calls} system calls for {IMAGES} images"
    );
    Ok(())
}

/// What it takes, and a tenth more.
const ONE_ID: u32 = 130;
const EMULATED: u32 = 215;
