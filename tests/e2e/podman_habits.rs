//! Scripts that were written for podman and docker: the same words, with podman itself as referee.
//!
//! Podman runs as root here, and only makes containers: what it says of them, and by which exit code, is compared.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    the_same_words_end_alike,
    lists_are_the_same,
    documents_have_the_keys_of_podman,
    scripts_run_unchanged,
    options_before_the_verb,
    a_containers_conf_is_followed,
);

/// podman and coracle, each with a store of its own, the same image, and a container that was never started.
struct Pair<'a> {
    own: &'a Env,
    image: String,
    /// Podman's. It refuses long names.
    dir: PathBuf,
}

impl<'a> Pair<'a> {
    fn new(own: &'a Env) -> Result<Self, crate::harness::Skip> {
        own.need(Feature::Root)?;
        own.need(Feature::Program("podman"))?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pair = Self {
            image: own.image("busybox"),
            dir: own.machine.dir.join(format!("p{number}")),
            own,
        };
        pair.podman(&["pull", "--quiet", "--tls-verify=false", &pair.image])
            .ok();
        for cmd in pair.both(&[
            "create",
            "--name",
            "c1",
            "-l",
            "a=b",
            "-l",
            "c=d",
            "--network=none",
        ]) {
            cmd.args([&pair.image, "sh", "-c", "exit 3"]).ok();
        }
        Ok(pair)
    }

    fn podman(&self, args: &[&str]) -> Cmd {
        let part = |name: &str| self.dir.join(name).into_os_string();
        Cmd::host([
            "podman",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
            "--root",
        ])
        .arg(part("root"))
        .arg("--runroot")
        .arg(part("run"))
        .arg("--tmpdir")
        .arg(part("tmp"))
        .args(args)
    }

    /// podman's first. `IMAGE` stands for the image.
    fn both(&self, args: &[&str]) -> [Cmd; 2] {
        let args = args.iter().map(|a| a.replace("IMAGE", &self.image));
        let args: Vec<String> = args.collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        [self.podman(&args), self.own.cmd(&args)]
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        self.podman(&["rm", "--all", "--force"]).run();
        self.podman(&["rmi", "--all", "--force"]).run();
        Cmd::host(["rm", "-rf", "--one-file-system"])
            .arg(&self.dir)
            .run();
    }
}

fn the_same_words_end_alike(e: &Env) -> Done {
    let own = e.with_own_store();
    let pair = Pair::new(&own)?;
    for line in [
        "rm nosuch",
        "rm -i nosuch",
        "rm -f nosuch",
        "rm -t 0 --force --ignore nosuch",
        "rm",
        "rm --all c1",
        "rm --cidfile nosuch",
        "rm --filter foo=bar",
        "rmi nosuch",
        "rmi -f nosuch",
        "rmi -i nosuch",
        "rmi IMAGE",
        "rmi",
        "inspect nosuch",
        "inspect c1 nosuch",
        "inspect --type container IMAGE",
        "inspect --type image c1",
        "inspect --type foo c1",
        "inspect -f {{.Nope}} c1",
        "inspect -f {{ c1",
        "container inspect nosuch",
        "container inspect IMAGE",
        "image inspect nosuch",
        "container exists nosuch",
        "container exists c1",
        "image exists nosuch",
        "image exists IMAGE",
        "images nosuch",
        "images --sort foo",
        "images --filter foo=bar",
        "ps --filter foo=bar",
        "ps --filter name=nosuch",
        "ps --sort foo",
        "ps --format {{",
        "ps extra",
        "history nosuch",
        "tag nosuch x",
        "untag nosuch",
        "diff nosuch",
        "export nosuch",
        "save nosuch -o /dev/null",
        "info --format {{.Nope}}",
        "nosuchverb",
        "container nosuchverb",
        "ps --all=true --no-trunc=F",
        "ps --all=yes",
        "ps --all --all=0 --all",
        "ps -aq=t",
        "rm --force=1 --ignore=TRUE nosuch",
        "rm --all=false nosuch",
        "images --quiet=maybe",
        "--nosuch ps",
        "ps --nosuch",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let [theirs, ours] = pair.both(&words).map(|c| c.run());
        assert_eq!(
            ours.code(),
            theirs.code(),
            "{line}: {}{}",
            theirs.err(),
            ours.err()
        );
        assert_eq!(
            ours.err().is_empty(),
            ours.code() == 0 || line.contains("exists"),
            "{line}"
        );
    }
    Ok(())
}

/// Ids are different ones, and columns may be of other widths.
fn normal(text: &str) -> String {
    let word = |w: &str| {
        let hex = w.len() >= 12 && w.bytes().all(|b| b.is_ascii_hexdigit());
        if hex {
            format!("id{}", w.len())
        } else {
            w.to_owned()
        }
    };
    let line = |l: &str| l.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn lists_are_the_same(e: &Env) -> Done {
    let own = e.with_own_store();
    let pair = Pair::new(&own)?;
    for args in [
        &["ps"][..],
        &["ps", "-q"],
        &["ps", "-aq"],
        &["ps", "-aq", "--no-trunc"],
        &[
            "ps",
            "--all",
            "--external",
            "--format",
            "{{.ID}} {{.Names}}",
        ],
        &[
            "ps",
            "-a",
            "--format",
            "{{.Names}}|{{.Image}}|{{.Command}}|{{.Status}}|{{.Pid}}",
        ],
        &[
            "ps",
            "-a",
            "--format",
            "{{.ExitCode}}|{{.Exited}}|{{.ExitedAt}}|{{.StartedAt}}",
        ],
        &[
            "ps",
            "-a",
            "--format",
            "{{.Labels}}|{{.Mounts}}|{{.Pod}}{{.PodName}}|{{.AutoRemove}}",
        ],
        &[
            "ps",
            "-a",
            "--format",
            "{{.ImageID}} {{.RunningFor | printf \"%.0s\"}}\\t{{.Ports}}\\n",
        ],
        &[
            "ps",
            "-a",
            "--format",
            "table {{.ID}}\\t{{.Names}} {{.Status}}",
        ],
        &[
            "ps",
            "-a",
            "--noheading",
            "--format",
            "table {{.Names}} {{.Image}}",
        ],
        &["ps", "-a", "--format", "{{range .}}{{.Names}},{{end}}"],
        &[
            "ps",
            "-a",
            "--filter",
            "name=^c1$",
            "--format",
            "{{upper .Names}}",
        ],
        &[
            "ps",
            "-a",
            "--filter",
            "label=a=b",
            "--filter",
            "label=c",
            "--format",
            "{{.Names}}",
        ],
        &[
            "ps",
            "-a",
            "--filter",
            "label=a=x",
            "--format",
            "{{.Names}}",
        ],
        &["ps", "-a", "--filter", "status=created", "-q"],
        &["ps", "-a", "--filter", "status=exited", "-q"],
        &["ps", "-a", "--filter", "ancestor=IMAGE", "-n", "1", "-q"],
        &["ps", "--last", "1", "--format", "{{index .Labels \"a\"}}"],
        &["container", "ls", "-a", "--format", "{{json .Names}}"],
        &["container", "list", "-a", "-q"],
        &["images", "-q"],
        &["images", "-q", "--no-trunc"],
        &["images", "-aq"],
        &["image", "ls", "-q"],
        &[
            "images",
            "--all",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}} {{.Id}}",
        ],
        &[
            "images",
            "--format",
            "{{.Names}} {{.RepoTags}} {{.RepoDigests}} {{.Digest}}",
        ],
        &[
            "images",
            "--format",
            "{{.Labels}} {{.Containers}} {{.Dangling}} {{.ReadOnly}}",
        ],
        &[
            "images",
            "--format",
            "{{.CreatedAt}} {{.CreatedSince}} {{.Created}} {{.History}}",
        ],
        &[
            "images",
            "--format",
            "table {{.ID}} {{.Repository}} {{.Tag}}",
        ],
        &["images", "-n", "--format", "table {{.Repository}}"],
        &["images", "--sort", "repository", "--format", "{{.Tag}}"],
        &["images", "--filter", "dangling=true", "-q"],
        &["images", "--filter", "reference=*busybox*", "-q"],
        &[
            "inspect",
            "-f",
            "{{.Name}} {{.ImageName}} {{.Path}} {{.Args}} {{.RestartCount}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.Pid}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Error}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.Config.Labels}} {{index .Config.Labels \"a\"}} {{len .Mounts}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{join .Config.Cmd \" \"}} {{.Config.Tty}} {{.Config.WorkingDir}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.HostConfig.Privileged}} {{.HostConfig.AutoRemove}} {{.HostConfig.NetworkMode}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.NetworkSettings.IPAddress}}|{{range .NetworkSettings.Ports}}x{{end}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{with .State}}{{if eq .Status \"created\"}}new{{else}}old{{end}}{{end}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}",
            "c1",
        ],
        &[
            "inspect",
            "--type",
            "container",
            "-f",
            "{{printf \"%s-%d\" .Name .State.ExitCode}}",
            "c1",
        ],
        &[
            "inspect",
            "-f",
            "{{.RepoTags}} {{.Os}}/{{.Architecture}} {{.Config.Cmd}} {{.Digest}}",
            "IMAGE",
        ],
        &[
            "inspect",
            "-f",
            "{{.RootFS.Type}} {{.RootFS.Layers}} {{.RepoDigests}} {{.Author}}",
            "IMAGE",
        ],
        &[
            "image",
            "inspect",
            "-f",
            "{{range .Config.Env}}{{println .}}{{end}}",
            "IMAGE",
        ],
        &["inspect", "-f", "{{slice .ID 0 3 | len}}", "IMAGE"],
        &[
            "info",
            "-f",
            "{{.Host.OS}} {{.Host.Arch}} {{.Host.Hostname}} {{.Host.Kernel}} {{.Host.CPUs}}",
        ],
        &[
            "info",
            "-f",
            "{{.Host.MemTotal}} {{.Host.SwapTotal}} {{.Host.CgroupsVersion}} {{.Host.ServiceIsRemote}}",
        ],
        &[
            "info",
            "-f",
            "{{.Host.Distribution.Distribution}} {{.Host.Distribution.Version}}",
        ],
        &[
            "system",
            "info",
            "-f",
            "{{.Store.ImageStore.Number}} {{json .Store.ContainerStore}}",
        ],
        &[
            "info",
            "-f",
            "{{.Plugins.Volume}} {{.Host.EventLogger | len | lt 0}} {{.Host.Security.SELinuxEnabled}}",
        ],
        &["version", "-f", "{{.Client.OsArch}} {{.Client.Os}}"],
        &["history", "-q", "IMAGE"],
        &["rm", "-t", "0", "--all", "--force", "--ignore"],
        &["ps", "-aq"],
    ] {
        let [theirs, ours] = pair.both(args).map(|c| c.run());
        let said = |o: &crate::harness::Output| normal(&o.out());
        assert_eq!(
            ours.code(),
            theirs.code(),
            "{args:?}: {}{}",
            theirs.err(),
            ours.err()
        );
        assert_eq!(said(&ours), said(&theirs), "{args:?}");
        assert_eq!(ours.err(), "", "{args:?}");
    }
    Ok(())
}

/// What of `theirs` is not in `ours`, or is of another kind there. An empty list may be nothing, and the other way
/// round.
fn missing(theirs: &Value, ours: &Value, at: &str, out: &mut Vec<String>) {
    let kind = |v: &Value| match v {
        Value::Null => 'n',
        Value::Bool(_) => 'b',
        Value::Number(_) => '0',
        Value::String(_) => 's',
        Value::Array(_) => 'a',
        Value::Object(_) => 'o',
    };
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, value) in theirs {
                let at = format!("{at}.{key}");
                match ours.get(key) {
                    Some(own) => missing(value, own, &at, out),
                    None => out.push(at),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(first), Some(own)) = (theirs.first(), ours.first()) {
                missing(first, own, &format!("{at}[]"), out);
            }
        }
        (a, b) if kind(a) == kind(b) || a.is_null() || b.is_null() => {}
        (a, b) => out.push(format!("{at}: {a} is {b}")),
    }
}

fn documents_have_the_keys_of_podman(e: &Env) -> Done {
    let own = e.with_own_store();
    let pair = Pair::new(&own)?;
    for (args, without) in [
        (&["ps", "-a", "--format", "json"][..], &[][..]),
        (&["ps", "-a", "--size", "--format", "json"], &[]),
        (&["images", "--format", "json"], &[]),
        (
            &["inspect", "c1"],
            &[
                // A list and a word as with docker and newer podman.
                "Config.Entrypoint",
                "Config.StopSignal",
                // How podman was called, and what it does for systemd and for Windows.
                "Config.CreateCommand",
                "Config.HealthcheckOnFailureAction",
                "Config.Passwd",
                "Config.sdNotifyMode",
                "Config.Annotations.",
                // One layer's place says nothing where layers are shared by many.
                "GraphDriver.Data.LowerDir",
            ],
        ),
        (
            &["inspect", "IMAGE"],
            &["GraphDriver.Data.", "ManifestType", "NamesHistory"],
        ),
        (
            &["info", "--format", "json"],
            // Programs that are not used.
            &[
                "buildahVersion",
                "conmon",
                "cpuUtilization",
                "slirp4netns",
                "Native Overlay",
                "d_type",
                "metacopy",
            ],
        ),
        (&["version", "--format", "json"], &[]),
    ] {
        let [theirs, ours] = pair.both(args).map(|c| {
            let out = c.ok().out();
            serde_json::from_str::<Value>(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
        });
        let mut all = Vec::new();
        missing(&theirs, &ours, "", &mut all);
        all.retain(|at| !without.iter().any(|w| at.contains(w)));
        assert!(all.is_empty(), "{args:?}: {all:#?}");
    }
    Ok(())
}

/// A shell script of somebody else's, in which `podman` and `docker` are coracle. `IMAGE` stands for an image.
fn script(own: &Env, image: &str, text: &str) -> String {
    let text = format!("set -eu\n{text}");
    let bin = own.subdir("bin");
    for name in ["docker", "podman"] {
        // From the script before.
        let _ = std::os::unix::fs::symlink(own.machine.dir.join("bin/coracle"), bin.join(name));
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let done = own
        .user(["sh", "-c", &text.replace("IMAGE", image)])
        .env("PATH", path)
        .run();
    assert_eq!(
        (done.code(), done.err().as_str()),
        (0, ""),
        "{text}: {}",
        done.out()
    );
    done.out()
}

fn scripts_run_unchanged(e: &Env) -> Done {
    e.coracle_only("it is about the words of scripts")?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    for (text, want) in [
        // Cleaning up before a test, as podman's and buildah's own suites do.
        (
            "podman create --name a IMAGE true >/dev/null; podman create --name b IMAGE true >/dev/null
             podman rm -t 0 --all --force --ignore >/dev/null
             podman ps --all --external --format '{{.ID}} {{.Names}}'
             podman images --all --format '{{.Repository}}:{{.Tag}} {{.ID}}' | while read name id; do
                 [ \"$name\" = IMAGE ]; [ ${#id} = 12 ]; done",
            "",
        ),
        // docker's ways of the same.
        (
            "docker create IMAGE true >/dev/null; docker create IMAGE true >/dev/null
             docker ps -aq | xargs docker rm -f | wc -l
             docker rm $(docker ps -aq --filter status=exited) 2>/dev/null || true
             docker images -q -f dangling=true | xargs -r docker rmi
             docker container prune -f; docker image prune -f >/dev/null",
            "2\nTotal reclaimed space: 0B\n",
        ),
        // Flags with values, as wrappers write them.
        (
            "podman run --rm=true --detach=false --interactive=true --tty=false --init=0 IMAGE echo a --rm=false
             podman run --rm --rm -i=f --privileged=F --quiet=t IMAGE echo b
             podman create --name t --rm=false IMAGE true >/dev/null
             podman ps --all=true --quiet=1 --no-trunc=true | wc -L
             podman ps -a=true --quiet=0 --noheading=true --format '{{.Names}}'
             podman rm --force=true --all=false t; podman ps -aq=true",
            "a --rm=false\nb\n64\nt\nt\n",
        ),
        // Is there a daemon, and is the image here?
        (
            "docker info >/dev/null; docker info --format '{{.ServerVersion}}' | grep -q '^[0-9]'
             docker version --format '{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}' | grep -c linux
             docker image inspect IMAGE >/dev/null 2>&1 && echo here
             docker image inspect no/such >/dev/null 2>&1 || echo gone
             [ \"$(docker images -q IMAGE)\" ] && echo yes
             [ \"$(docker images -q no/such)\" ] || echo no",
            "1\nhere\ngone\nyes\nno\n",
        ),
        // A service in the background, and what is asked of it.
        (
            "docker run -d --name web --network=none -l app=x IMAGE sleep 600 >/dev/null
             [ \"$(docker ps -q -f name=web)\" ] && echo up
             docker ps --format '{{.Names}}' | grep -c ^web$
             docker inspect -f '{{.State.Running}}' web
             docker inspect --format='{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web
             docker inspect --format '{{index .Config.Labels \"app\"}}' web
             docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{end}}' web
             [ \"$(docker inspect -f '{{.State.Pid}}' web)\" -gt 1 ] && echo pid
             docker ps --filter label=app=x --format '{{.Label \"app\"}} {{.State}} {{.Status}}' | cut -c-12
             docker rm -f web; docker ps -a --format '{{.Names}}' | grep -c web || true",
            "up\n1\ntrue\n\nx\n\npid\nx running Up\nweb\n0\n",
        ),
        // What an image is.
        (
            "docker inspect --format='{{range .Config.Env}}{{println .}}{{end}}' IMAGE | grep -c PATH
             docker inspect -f '{{.Os}}/{{.Architecture}} {{len .RootFS.Layers}}' IMAGE | cut -d/ -f1
             docker inspect -f '{{json .Config.Cmd}}' IMAGE
             docker tag IMAGE local/copy:1; docker images --format '{{.Repository}}' | grep copy
             docker images local/copy --format 'table {{.Repository}}\\t{{.Tag}}'
             docker rmi -f local/copy:1 >/dev/null; docker system df --format '{{.Type}}' | head -n 1
             docker container ls -a -q; docker history -q IMAGE | wc -l",
            "1\nlinux\n[\"sh\"]\ndocker.io/local/copy\nREPOSITORY            TAG\ndocker.io/local/copy  1\nImages\n1\n",
        ),
    ] {
        assert_eq!(script(&own, &image, text), want, "{text}");
    }
    Ok(())
}

fn options_before_the_verb(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    e.coracle_only("it is about what podman has and coracle has not")?;
    let other = own.subdir("other");
    let other = other.to_str().unwrap_or_default();
    let taken = [
        "--runroot",
        "/nonexistent",
        "--log-level",
        "error",
        "--cgroup-manager",
        "systemd",
        "--events-backend",
        "file",
        "--tmpdir",
        "/nonexistent",
        "--remote=false",
        "--runtime",
        "/usr/bin/crun",
        "--storage-opt",
        "overlay.ignore_chown_errors=true",
    ];
    own.cmd(taken)
        .args(["run", "--rm", "--network=none", &image, "echo", "hi"])
        .ok()
        .out_is("hi\n")
        .err_is("");
    own.cmd(taken).args(["ps", "-q"]).ok().out_is("").err_is("");
    own.cmd([
        "--storage-driver",
        "vfs",
        "run",
        "--rm",
        "--network=none",
        &image,
        "stat",
        "-f",
        "-c%T",
        "/",
    ])
    .ok()
    .out_lacks("overlay");
    own.cmd(["--root", other, "images", "-q"]).ok().out_is("");
    own.cmd(["info", "-f", "{{.Store.GraphRoot}}", "--root", other])
        .ok()
        .out_is(&format!("{other}\n"));
    own.cmd(["--runroot", "/x", "info", "-f", "{{.Store.RunRoot}}"])
        .ok()
        .out_is("/x\n");
    for (args, why) in [
        (&["--remote", "ps"][..], "no service"),
        (&["-H", "tcp://a", "ps"], "no service"),
        (&["--hooks-dir", "/x", "ps"], "hooks"),
        (&["--storage-opt", "size=1G", "ps"], "quota"),
        (&["--storage-driver", "zfs", "ps"], "zfs"),
        (&["--runtime", "kata", "run", "x"], "kata"),
    ] {
        own.cmd(args).run().code_is(125).err_has(why).out_is("");
    }
    own.cmd(["-v"]).ok().out_has("coracle ");
    Ok(())
}

fn a_containers_conf_is_followed(e: &Env) -> Done {
    e.coracle_only("podman's own defaults differ")?;
    let image = e.image("busybox");
    let conf = |name: &str, text: &str| e.file(name, text).display().to_string();
    let good = conf(
        "good.conf",
        "[containers]\nenv = [\"A=file\", \"B=file\"]\ndefault_ulimits = [\"nofile=100:200\"]\n\
         default_capabilities = [\"CHOWN\", \"KILL\"]\ndefault_sysctls = [\"net.ipv4.ping_group_range=0 0\"]\n\
         netns = \"none\"\ninit = true\nlabel = true\n[engine]\npull_policy = \"never\"\n[network]\nfirewall_driver = \"x\"\n",
    );
    let show =
        "echo $A $B; ulimit -n; grep CapBnd /proc/self/status; ls /sys/class/net; cat /proc/1/comm";
    let run = |args: &[&str]| {
        let line = [args, &[&image, "sh", "-c", show]].concat();
        e.cmd(["run", "--rm"])
            .env("CONTAINERS_CONF", &good)
            .args(line)
            .ok()
            .err_is("")
            .out()
    };
    let said = run(&[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..4],
        ["file file", "100", "CapBnd:\t0000000000000021", "lo"],
        "{said}"
    );
    assert_ne!(lines[4], "sh", "an init should be first: {said}");
    // The user's own words stand above.
    let said = run(&["-e", "A=own", "--ulimit", "nofile=50", "--cap-drop=all"]);
    assert!(
        said.starts_with("own file\n50\nCapBnd:\t0000000000000000\n"),
        "{said}"
    );
    let over = conf(
        "over.conf",
        "[containers]\nenv = [\"B=over\", {append=true}]\n",
    );
    e.cmd(["container", "run", "--rm", &image, "sh", "-c", "echo $A $B"])
        .env("CONTAINERS_CONF", &good)
        .env("CONTAINERS_CONF_OVERRIDE", &over)
        .ok()
        .out_is("file over\n");
    // Verbs that start nothing do not look at it.
    e.cmd(["ps", "-q"])
        .env("CONTAINERS_CONF", "/nonexistent")
        .ok();
    e.cmd(["run", "--rm", "--network=none", &image, "true"])
        .env("CONTAINERS_CONF", "/dev/null")
        .ok();
    for (text, why) in [
        (
            "[containers]\ndefault_ulimits = [\"x\"]\n",
            "CONTAINERS_CONF",
        ),
        ("[containers]\numask = \"0077\"\n", "containers.umask"),
        ("[engine]\nremote = true\n", "no service"),
        ("[containers\n", "bad.conf"),
    ] {
        let bad = conf("bad.conf", text);
        e.cmd(["run", "--rm", &image, "true"])
            .env("CONTAINERS_CONF", &bad)
            .run()
            .code_is(125)
            .err_has(why);
    }
    e.cmd(["run", "--rm", &image, "true"])
        .env("CONTAINERS_CONF", "/nonexistent")
        .run()
        .code_is(125)
        .err_has("/nonexistent");
    Ok(())
}
