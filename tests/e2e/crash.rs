//! `kill -9` at any point, and a full disk: the next command works, finished images are intact, and
//! what was left is removed.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    pull_killed_at_any_time,
    run_killed_at_any_time,
    load_killed_at_any_time,
    rmi_killed_at_any_time,
    pull_on_a_full_disk,
    run_on_a_full_disk,
    container_fills_the_disk,
    unwritable_store,
    store_of_a_future_version,
);

/// Delays that cover a command from its first system call to its end.
fn delays(most: u64, count: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(move |i| Duration::from_micros(most * 1000 * i / count + 137 * i))
}

fn kill_after(cmd: &Cmd, delay: Duration) {
    let p = cmd.spawn();
    std::thread::sleep(delay);
    p.signal(Signal::KILL);
    let _ = p.wait();
}

fn pull_killed_at_any_time(e: &Env) -> Done {
    let own = e.with_own_store();
    let safe = own.image("busybox");
    let before = own.layers();
    let name = own.machine.pushed("nasty14");
    let pull = own.cmd(["pull", "-q", &name]);
    for delay in delays(150, 40) {
        kill_after(&pull, delay);
        own.run_name(&["--pull=never"], &safe, &["echo", "fine"])
            .ok()
            .out_is("fine\n");
        // Away with what may have been finished, so that the next round pulls again.
        let _ = own.cmd(["rmi", "-f", &name]).run();
    }
    pull.ok();
    own.run_name(&[], &name, &["true"]).ok();
    own.cmd(["rmi", &name]).ok();
    assert_eq!(
        own.layers(),
        before,
        "a finished image has changed, or a layer was left"
    );
    own.nothing_unfinished();
    Ok(())
}

fn run_killed_at_any_time(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    let before = own.layers();
    let run = own.run_name(&[], &name, &["sh", "-c", "echo x >/x; rm /bin/vi"]);
    for delay in delays(40, 60) {
        kill_after(&run, delay);
    }
    // The next command cleans up after the dead.
    run.ok();
    own.run_name(&[], &name, &["ls", "/bin/vi"]).ok();
    assert_eq!(own.layers(), before);
    let left: Vec<_> = std::fs::read_dir(own.root().join("containers"))
        .unwrap()
        .flatten()
        .map(|f| f.file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    own.nothing_unfinished();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(&own.root().display().to_string()),
        "{mounts}"
    );
    Ok(())
}

fn load_killed_at_any_time(e: &Env) -> Done {
    let own = e.with_own_store();
    let dir = e.layout("nasty14");
    let load = own.cmd(["load", "-q", "-i"]).arg(&dir);
    for delay in delays(120, 15) {
        kill_after(&load, delay);
        own.cmd(["images"]).ok();
    }
    load.ok();
    assert_eq!(own.cmd(["images", "-q"]).ok().out().lines().count(), 1);
    own.nothing_unfinished();
    Ok(())
}

fn rmi_killed_at_any_time(e: &Env) -> Done {
    let own = e.with_own_store();
    let safe = own.image("busybox");
    let name = own.machine.pushed("nasty14");
    for delay in delays(30, 15) {
        own.cmd(["pull", "-q", &name]).ok();
        kill_after(&own.cmd(["rmi", &name]), delay);
        // Either still whole, or gone.
        let out = own
            .run_name(&["--pull=never"], &name, &["cat", "/change/removed"])
            .run();
        assert!(out.code() == 125 || out.out() == "back in 14\n", "{out:?}");
        own.run_name(&["--pull=never"], &safe, &["true"]).ok();
    }
    let _ = own.cmd(["rmi", "-f", &name]).run();
    own.cmd(["rmi", &safe]).ok();
    assert!(own.layers().is_empty());
    own.nothing_unfinished();
    Ok(())
}

/// A store on a file system of so many megabytes; unmounted by the closure's end.
fn on_small_disk(e: &Env, megabytes: u32, test: impl FnOnce(&Env)) -> Done {
    e.need(Feature::Root)?;
    let at = e.subdir("disk");
    let size = format!("size={megabytes}m,mode=777");
    Cmd::host(["mount", "-t", "tmpfs", "-o", &size, "none"])
        .arg(&at)
        .ok();
    let own = e.with_root(at.join("store"));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&own)));
    Cmd::host(["umount", "-l"]).arg(&at).ok();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    Ok(())
}

fn used(at: &Path) -> u64 {
    let s = rustix::fs::statvfs(at).unwrap();
    (s.f_blocks - s.f_bfree) * s.f_frsize
}

fn pull_on_a_full_disk(e: &Env) -> Done {
    on_small_disk(e, 24, |own| {
        let safe = own.image("busybox");
        let before = (own.layers(), used(own.root()));
        let big = own.machine.pushed("python");
        own.cmd(["pull", &big])
            .limit(400)
            .run()
            .fails_with(125, "space");
        own.run_name(&["--pull=never"], &safe, &["echo", "fine"])
            .ok()
            .out_is("fine\n");
        own.cmd(["images"]).ok();
        assert_eq!(own.layers(), before.0);
        own.nothing_unfinished();
        assert!(
            used(own.root()) < before.1 + (1 << 20),
            "space is not given back"
        );
    })
}

fn run_on_a_full_disk(e: &Env) -> Done {
    on_small_disk(e, 8, |own| {
        let name = own.image("busybox");
        let filler = own.root().join("filler");
        let mut left = std::fs::File::create(&filler).unwrap();
        let _ = std::io::copy(&mut std::io::repeat(1), &mut left);
        drop(left);
        let out = own.run_name(&[], &name, &["true"]).run();
        assert!([0, 125].contains(&out.code()), "{out:?}");
        std::fs::remove_file(&filler).unwrap();
        own.run_name(&[], &name, &["echo", "fine"])
            .ok()
            .out_is("fine\n");
        own.nothing_unfinished();
    })
}

fn container_fills_the_disk(e: &Env) -> Done {
    on_small_disk(e, 16, |own| {
        let name = own.image("busybox");
        let script = "dd if=/dev/zero of=/big bs=1M 2>&1 | grep -o 'No space left on device'";
        own.run_name(&[], &name, &["sh", "-c", script])
            .ok()
            .out_is("No space left on device\n");
        own.run_name(&[], &name, &["sh", "-c", "echo y >/y && cat /y"])
            .ok()
            .out_is("y\n");
    })
}

fn unwritable_store(e: &Env) -> Done {
    e.need(Feature::Root)?;
    for root in ["/proc/coracle", "/sys/coracle", "/dev/null/store"] {
        let own = e.with_root(root.into());
        own.cmd(["images"]).run().fails_with(125, root);
    }
    Ok(())
}

fn store_of_a_future_version(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("busybox");
    let before = own.layers();
    std::fs::write(own.root().join("meta.json"), "{\"version\":999}").unwrap();
    own.cmd(["images"]).run().fails_with(125, "999");
    assert_eq!(own.layers(), before);
    Ok(())
}
