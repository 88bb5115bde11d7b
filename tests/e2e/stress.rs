//! Many commands at once on one store: nothing that was finished is lost, nothing fails but for what the
//! manuals name, and in the end nothing is left.
//!
//! `E2E_RACE_SECONDS` is for how long; a minute if it is not set. The commands are nice to what runs beside
//! them. A failure names the seed of its worker's steps; what the others did at that moment is chance.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{Cmd, Done, Env, Output};

suite!(sixteen_at_once_lose_nothing);

const WORKERS: u64 = 16;

/// Images that all workers pull, run and remove: name, and what tells that it is whole.
const SHARED: [(&str, &str, &str); 3] = [
    (
        "busybox",
        "/etc/group",
        "root:x:0:\ndaemon:x:1:\napp:x:2345:\nextra:x:3456:app\n",
    ),
    ("nasty14", "/change/removed", "back in 14\n"),
    ("nasty14-gzip", "/change/removed", "back in 14\n"),
];

/// What a command may say when another one was there first; anything else is a failure.
const GONE: &[&str] = &["image not known"];
const TAKEN: &[&str] = &["image not known", "is in use by", "has several names"];

/// What a worker may do next; what stands here twice is twice as likely.
const STEPS: &[&str] = &[
    "adopt",
    "adopt",
    "run shared",
    "run shared",
    "run own",
    "commit",
    "commit",
    "remove own",
    "remove shared",
    "prune",
    "prune doomed",
    "save and load",
    "flip a name",
    "lists",
    "push",
    "check",
    "look",
];

/// An image that is one worker's own: nobody else removes it.
#[derive(Clone)]
struct Own {
    name: String,
    file: String,
    says: String,
}

struct Worker<'e> {
    e: &'e Env,
    n: u64,
    seed: u64,
    random: u64,
    made: u32,
    own: Vec<Own>,
    /// Containers that stay, and the file in each.
    kept: Vec<String>,
    counts: BTreeMap<&'static str, u32>,
}

impl<'e> Worker<'e> {
    fn new(e: &'e Env, n: u64, seed: u64) -> Self {
        Self {
            e,
            n,
            seed,
            random: seed | 1,
            made: 0,
            own: Vec::new(),
            kept: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    fn nice(&self, cmd: Cmd) -> Cmd {
        cmd.wrapped(["nice", "-n", "15"]).limit(300)
    }

    fn cmd(&self, args: &[&str]) -> Cmd {
        self.nice(self.e.cmd(args))
    }

    /// It works.
    #[track_caller]
    fn must(&self, args: &[&str]) -> Output {
        let out = self.cmd(args).run();
        assert_eq!(
            out.code(),
            0,
            "worker {}, seed {}: {out:?}",
            self.n,
            self.seed
        );
        out
    }

    /// It works, or says that somebody else was first. Whether it worked.
    #[track_caller]
    fn may(&self, args: &[&str], excuses: &[&str]) -> bool {
        let out = self.cmd(args).run();
        let excused =
            [1, 2, 125].contains(&out.code()) && excuses.iter().any(|e| out.err().contains(e));
        let code = out.code();
        assert!(
            code == 0 || excused,
            "worker {}, seed {}: {out:?}",
            self.n,
            self.seed
        );
        code == 0
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("localhost/w{}:{}", self.n, self.made)
    }

    fn shared(&mut self) -> (String, Own) {
        let (image, file, says) = SHARED[self.random(SHARED.len())];
        let name = self.e.machine.pushed(image);
        let own = Own {
            name: self.name(),
            file: file.to_owned(),
            says: says.to_owned(),
        };
        (name, own)
    }

    fn any_own(&mut self) -> Option<Own> {
        let n = self.own.len();
        (n > 0).then(|| self.random(n)).map(|i| self.own[i].clone())
    }

    /// The image is there, and is what it was.
    #[track_caller]
    fn verify(&self, own: &Own) {
        let run = ["run", "--rm", "--network=none", "--pull=never", &own.name];
        let cat = self.cmd(&run).args(["cat", &own.file]).run();
        assert_eq!(
            (cat.code(), cat.out()),
            (0, own.says.clone()),
            "worker {}, seed {}: {} {cat:?}",
            self.n,
            self.seed,
            own.name
        );
    }

    fn step(&mut self) {
        let name = STEPS[self.random(STEPS.len())];
        *self.counts.entry(name).or_default() += 1;
        match name {
            "adopt" => self.adopt(),
            "run shared" => self.run_shared(),
            "run own" => self.run_own(),
            "commit" => self.commit(),
            "remove own" => self.remove_own(),
            "remove shared" => self.remove_shared(),
            "prune" => drop(self.must(&["image", "prune", "-f"])),
            "prune doomed" => self.doomed(),
            "save and load" => self.save_and_load(),
            "flip a name" => self.flip(),
            "lists" => self.lists(),
            "push" => self.push(),
            "check" => self.check(),
            _ => self.look(),
        }
    }

    /// A shared image under a name of our own.
    fn adopt(&mut self) {
        let (name, own) = self.shared();
        let keep: &[&str] = if self.random(3) == 0 {
            &["--keep-blobs"]
        } else {
            &[]
        };
        let pull = [&["pull", "-q"], keep, &[&name]].concat();
        self.must(&pull);
        if self.may(&["tag", &name, &own.name], GONE) {
            self.own.push(own);
        }
    }

    fn run_shared(&mut self) {
        let (name, own) = self.shared();
        let out = self.must(&["run", "--rm", "--network=none", &name, "cat", &own.file]);
        assert_eq!(out.out(), own.says);
    }

    fn run_own(&mut self) {
        if let Some(own) = self.any_own() {
            self.verify(&own);
        }
    }

    /// Run, commit, and keep the image; the container now and then, too.
    fn commit(&mut self) {
        let base = match self.any_own() {
            Some(own) => own.name,
            None => self.shared().0,
        };
        let own = Own {
            name: self.name(),
            file: "/own".to_owned(),
            says: format!("{} {}\n", self.n, self.made),
        };
        let container = format!("c{}-{}", self.n, self.made);
        let script = format!("echo {} {} >/own", self.n, self.made);
        self.must(&[
            "run",
            "--network=none",
            "--name",
            &container,
            &base,
            "sh",
            "-c",
            &script,
        ]);
        self.must(&["commit", "-q", &container, &own.name]);
        if self.random(6) == 0 {
            self.kept.push(container);
        } else {
            self.must(&["rm", &container]);
        }
        self.own.push(own);
    }

    fn remove_own(&mut self) {
        if !self.own.is_empty() {
            let n = self.random(self.own.len());
            let own = self.own.swap_remove(n);
            // The image may be other names' as well, and then a container's: this is a name alone.
            if !self.may(&["rmi", &own.name], &["is in use by"]) {
                self.own.push(own);
            }
        }
    }

    fn remove_shared(&mut self) {
        let name = self.shared().0;
        self.may(&["rmi", &name], TAKEN);
    }

    /// An image and a container with a label, and who removes what has it.
    fn doomed(&mut self) {
        let Some(own) = self.any_own() else { return };
        let (name, container) = (self.name(), format!("d{}-{}", self.n, self.made));
        let label = ["--label", "doomed=1"];
        let run = ["run", "--network=none", "--name", &container];
        self.must(
            &[
                &run[..],
                &label,
                &[&own.name, "sh", "-c", "echo doomed >/doomed"],
            ]
            .concat(),
        );
        self.may(
            &["commit", "-q", "-c", "LABEL doomed=1", &container, &name],
            &["no such container", "was removed while"],
        );
        self.must(&["container", "prune", "-f", "--filter", "label=doomed"]);
        self.must(&["image", "prune", "-af", "--filter", "label=doomed"]);
        self.must(&["system", "prune", "-f", "--filter", "label=doomed"]);
    }

    fn save_and_load(&mut self) {
        let Some(own) = self.any_own() else { return };
        let file = self.e.dir.join(format!("saved-{}", self.n));
        let path = file.to_str().unwrap();
        self.must(&["save", "-q", "-o", path, &own.name]);
        self.must(&["load", "-q", "-i", path]);
        std::fs::remove_file(&file).unwrap();
    }

    /// A name that goes from image to image.
    fn flip(&mut self) {
        if let Some(own) = self.any_own() {
            self.must(&["tag", &own.name, "localhost/flip:1"]);
        }
    }

    fn lists(&mut self) {
        self.must(&["ps", "-a"]);
        self.must(&["system", "df"]);
        let out = self
            .must(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .out();
        let names: Vec<&str> = out.lines().collect();
        for own in &self.own {
            assert!(
                names.contains(&own.name.as_str()),
                "{} is not in {out}",
                own.name
            );
        }
    }

    fn push(&mut self) {
        let Some(own) = self.any_own() else { return };
        let there = format!(
            "{}/stress/w{}:{}",
            self.e.machine.registry, self.n, self.made
        );
        self.must(&["push", "-q", &own.name, &there]);
        let out = self.must(&["run", "--rm", "--network=none", &there, "cat", &own.file]);
        assert_eq!(out.out(), own.says);
        self.may(&["rmi", &there], &["is in use by"]);
    }

    fn check(&mut self) {
        let quick: &[&str] = if self.random(2) == 0 {
            &["--quick"]
        } else {
            &[]
        };
        self.must(&[&["system", "check"], quick].concat());
    }

    fn look(&mut self) {
        let Some(own) = self.any_own() else { return };
        self.must(&["inspect", &own.name]);
        self.must(&["history", &own.name]);
        self.must(&["image", "tree", &own.name]);
        if let Some(container) = self.kept.last() {
            self.must(&["diff", container]).out_has(" /own");
        }
    }
}

fn sixteen_at_once_lose_nothing(e: &Env) -> Done {
    let seconds = std::env::var("E2E_RACE_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let seconds: u64 = seconds.parse().expect("E2E_RACE_SECONDS is a number");
    let own = e.with_own_store();
    let end = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<Worker<'_>> = std::thread::scope(|scope| {
        let start = |n| {
            let own = &own;
            scope.spawn(move || {
                // Another run takes another course.
                let clock = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
                let mut worker = Worker::new(own, n, u64::from(clock) << 8 | n);
                while Instant::now() < end {
                    worker.step();
                }
                worker
            })
        };
        let threads: Vec<_> = (0..WORKERS).map(start).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });

    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for worker in &workers {
        worker.own.iter().for_each(|own| worker.verify(own));
        for (step, n) in &worker.counts {
            *counts.entry(step).or_default() += n;
        }
    }
    println!("{counts:?}");
    own.cmd(["system", "check"])
        .limit(300)
        .ok()
        .out_has("nothing is broken");
    own.nothing_unfinished();

    // What nobody uses any more goes, all of it.
    own.cmd(["rm", "--all"]).ok();
    own.cmd(["rmi", "--all", "--force"]).limit(300).ok();
    for dir in ["layers", "blobs/sha256", "images", "tmp"] {
        let left: Vec<_> = std::fs::read_dir(own.root().join(dir)).unwrap().collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    Ok(())
}
