//! `kill -9` at any point, and a full disk: the next command works, finished images are intact, and
//! what was left is removed.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    pull_killed_at_any_time,
    run_killed_at_any_time,
    load_killed_at_any_time,
    rmi_killed_at_any_time,
    two_hundred_kills_leave_a_sound_store,
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

/// One of several who work on one store and are killed.
struct Victim<'e> {
    e: &'e Env,
    n: u64,
    random: u64,
    made: u32,
    /// Committed, and the commit has ended: name and content of its `/own`.
    finished: Vec<(String, String)>,
    /// How long a command of a kind takes about, in microseconds.
    took: HashMap<&'static str, u64>,
    killed: u32,
}

impl Victim<'_> {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Start a command and kill it somewhere in the time that such a command takes.
    fn kill(&mut self, kind: &'static str, cmd: &Cmd) {
        let took = *self.took.entry(kind).or_insert(60_000);
        let delay = self.random(took);
        let p = cmd.spawn();
        std::thread::sleep(Duration::from_micros(delay));
        p.signal(Signal::KILL);
        let killed = p.wait().killed_by() == Some(9);
        self.killed += u32::from(killed);
        // Longer than it takes is a kill in vain; shorter, and its end is never reached.
        let guess = if killed {
            took + took / 8
        } else {
            delay.max(1000)
        };
        self.took.insert(kind, guess.min(1_000_000));
    }

    /// Whole, or not there.
    fn all_or_nothing(&self, name: &str, file: &str, says: &str) -> bool {
        let run = self
            .e
            .run_name(&["--pull=never"], name, &["cat", file])
            .run();
        let gone = run.code() == 125 && run.err().contains("image not known");
        assert!(gone || run.out() == says, "worker {}: {run:?}", self.n);
        !gone
    }

    fn step(&mut self, base: &str) {
        let e = self.e;
        let pulled = e.machine.pushed("nasty14");
        let own = match self.finished.last() {
            Some((name, _)) => name.clone(),
            None => base.to_owned(),
        };
        self.made += 1;
        let (container, new) = (
            format!("k{}-{}", self.n, self.made),
            format!("localhost/k{}:{}", self.n, self.made),
        );
        let says = format!("{} {}\n", self.n, self.made);
        let script = format!("printf '{} {}\\n' >/own", self.n, self.made);
        let keep = [
            "run",
            "--network=none",
            "--name",
            &container,
            &own,
            "sh",
            "-c",
            &script,
        ];
        match self.random(10) {
            0 | 1 => {
                let _ = e.cmd(["rmi", &pulled]).run();
                let blobs: &[&str] = if self.random(2) == 0 {
                    &["--keep-blobs"]
                } else {
                    &[]
                };
                self.kill("pull", &e.cmd(["pull", "-q"]).args(blobs).arg(&pulled));
                self.all_or_nothing(&pulled, "/change/removed", "back in 14\n");
            }
            2 => {
                let layout = e.layout("nasty-more");
                self.kill("load", &e.cmd(["load", "-q", "-i"]).arg(layout));
            }
            3 => self.kill(
                "run",
                &e.run_name(&[], &own, &["sh", "-c", "echo x >/x; rm /bin/vi"]),
            ),
            4 => {
                self.kill("keep", &e.cmd(keep));
                let _ = e.cmd(["rm", &container]).run();
            }
            5 | 6 => {
                e.cmd(keep).ok();
                self.kill("commit", &e.cmd(["commit", "-q", &container, &new]));
                if self.all_or_nothing(&new, "/own", &says) {
                    self.finished.push((new, says));
                }
                let _ = e.cmd(["rm", &container]).run();
            }
            7 if self.finished.len() > 1 => {
                let (name, says) = self.finished.swap_remove(0);
                self.kill("rmi", &e.cmd(["rmi", &name]));
                if self.all_or_nothing(&name, "/own", &says) {
                    self.finished.push((name, says));
                }
            }
            8 => {
                e.cmd(["tag", &own, "localhost/flip:1"]).ok();
                let prune = if self.random(2) == 0 {
                    "image"
                } else {
                    "system"
                };
                self.kill("prune", &e.cmd([prune, "prune", "-f"]));
            }
            _ => self.kill("repair", &e.cmd(["system", "check", "-q", "--repair"])),
        }
        e.cmd(["images"]).ok();
        for (name, says) in &self.finished {
            assert!(
                self.all_or_nothing(name, "/own", says),
                "worker {}: {name} is lost",
                self.n
            );
        }
    }
}

/// Four at a time, so that the dead leave things in the way of the living.
fn two_hundred_kills_leave_a_sound_store(e: &Env) -> Done {
    const KILLS: u32 = 200;
    let own = e.with_own_store();
    let base = own.image("busybox");
    own.layout("nasty-more");
    let seed = u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let names: Vec<_> = std::thread::scope(|scope| {
        let work = |n| {
            let (own, base) = (&own, &base);
            scope.spawn(move || {
                let mut victim = Victim {
                    e: own,
                    n,
                    random: seed << 8 | n << 1 | 1,
                    made: 0,
                    finished: Vec::new(),
                    took: HashMap::new(),
                    killed: 0,
                };
                while victim.killed < KILLS / 4 {
                    victim.step(base);
                }
                victim.finished
            })
        };
        let workers: Vec<_> = (0..4).map(work).collect();
        workers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    });
    own.cmd(["system", "check"])
        .limit(300)
        .ok()
        .out_has("nothing is broken");
    own.run_name(&["--pull=never"], &base, &["true"]).ok();
    for (name, says) in &names {
        own.run_name(&["--pull=never"], name, &["cat", "/own"])
            .ok()
            .out_is(says);
    }
    // Away with what was used, and nothing is left.
    own.cmd(["container", "prune", "-f"]).ok();
    own.cmd(["rmi", "--all", "--force"]).ok();
    own.cmd(["system", "prune", "-f"]).ok();
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
