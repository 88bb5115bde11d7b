//! `build`: what podman makes of the same Containerfiles is the reference, and the reference manual of docker where
//! podman of today knows less.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::commit::same;
use crate::harness::{Cmd, Done, Env, Feature, Output, Tar, gzip};
use crate::identity_packages::installed;
use crate::save_export::{peers, podman};

suite!(
    builds_what_podman_builds,
    configuration_as_podman_has_it,
    packages_install_in_a_build,
    steps_that_are_known_run_nothing,
    only_the_stages_that_are_needed,
    arguments_have_scopes,
    documents_in_the_file,
    what_is_ignored_is_not_there,
    nothing_leads_out_of_the_context,
    tars_are_unpacked_where_they_belong,
    a_failure_tells_its_line_and_leaves_nothing,
    the_same_time_is_the_same_image,
    what_a_base_wants_done,
    what_is_not_honoured_is_an_error,
    a_signal_ends_a_build,
);

/// A directory for a build.
struct Context<'e> {
    own: &'e Env,
    dir: PathBuf,
}

impl<'e> Context<'e> {
    fn new(own: &'e Env, name: &str, containerfile: &str) -> Self {
        let dir = own.subdir(name);
        let this = Self { own, dir };
        this.file("Containerfile", containerfile);
        this
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        for path in path.ancestors().take_while(|p| p.starts_with(&self.dir)) {
            self.own.give(path);
        }
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.dir.join(name), mode).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.dir.join(name)).unwrap();
    }

    fn build(&self, flags: &[&str]) -> Cmd {
        let base = format!("BASE={}", self.own.image("busybox"));
        self.own
            .cmd(["build", "--network=none", "--build-arg", &base])
            .args(flags)
            .arg(&self.dir)
            .limit(200)
    }

    fn run(&self, image: &str, script: &str) -> String {
        self.own
            .cmd(["run", "--rm", "--network=none", "--user=0", "--entrypoint="])
            .args([image, "sh", "-c", script])
            .ok()
            .out()
    }
}

fn id_of(out: &Output) -> String {
    let out = out.out();
    let id = out.lines().last().unwrap();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{out}");
    id.to_owned()
}

/// Everything that a table of COPY and ADD can get wrong: one line each.
const COPIES: &str = "ARG BASE
FROM ${BASE}
RUN echo 'joe:x:500:501::/:/bin/sh' >>/etc/passwd; echo 'grp:x:77:' >>/etc/group; mkdir /real; ln -s /real /ln; \\
    mkdir -m 1770 /sticky; chown 5:6 /sticky; chown 7:8 /etc/group; chmod 4711 /etc/group
WORKDIR /w/x
COPY a /t/new/deep/a
COPY --chown=3:4 a /t/chowned/deep/a
COPY --chown=3 a /t/uid
COPY --chown=joe a /t/joe
COPY --chown=joe:grp a /t/joegrp
COPY --chown=:77 a /t/group
COPY --chown=500 a /t/known
COPY d /t/dir
COPY --chown=3:4 d /t/dirchowned
COPY --chmod=751 d /t/mode
COPY --chmod=4711 a /t/set-id
COPY d d2/
COPY . /t/all
COPY l1 /t/followed
COPY a l1 /t/two/
COPY [al]* /t/wild/
COPY d/* /t/glob/
COPY [\"with space\", \"/t/quoted name\"]
COPY ./d/../a /t/dotted
COPY d /ln
COPY a /ln/x
COPY a /sticky/in
ADD x.tar /t/tar
ADD x.tar.gz /t/tgz
ADD --chown=9:9 x.tar /t/tarchown
ADD a /t/added
RUN rm -r /usr; mkdir /usr; echo x >/usr/x; rm /bin/ls; mkfifo /t/fifo; ln /t/uid /t/hard; chmod 0 /t/joe
USER joe
WORKDIR /home/of/joe
RUN echo mine >file; mkdir dir
";

fn table(own: &Env) -> Context<'_> {
    let c = Context::new(own, "table", COPIES);
    c.file("a", "content of a\n");
    c.file("d/b", "b\n");
    c.file("d/sub/c", "c\n");
    c.file("with space", "s\n");
    let tar = Tar::new()
        .dir(b"made/")
        .file(b"made/in-tar", b"in tar\n")
        .symlink(b"made/link", b"in-tar")
        .end();
    c.file("x.tar.gz", gzip(&tar));
    c.file("x.tar", tar);
    c.link("l1", "a");
    c.link("d/sub/up", "../b");
    c.mode("a", 0o600);
    c.mode("d", 0o711);
    c.mode("d/sub", 0o750);
    c
}

/// All below `/`, but for what a container has of its own.
const LIST: &str = "find . \\( -path ./dev -o -path ./proc -o -path ./sys -o -path ./etc/hosts -o -path ./etc/hostname \
    -o -path ./etc/resolv.conf -o -path ./run \\) -prune -o ! -path . -printf '%p %y %m %U:%G %l\\n' | sort
    find t w home ln -type f ! -perm 0 | sort | xargs -d '\\n' md5sum";

fn listing(root: &Path) -> Vec<String> {
    let out = Cmd::host(["sh", "-c", LIST]).cwd(root).ok().out();
    out.lines().map(str::to_owned).collect()
}

fn builds_what_podman_builds(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let c = table(&own);
    let id = id_of(&c.build(&["-t", "localhost/ours"]).ok());
    let base = own.image("busybox");
    let (saved, ours) = (own.dir.join("base.tar"), own.dir.join("ours.tar"));
    own.cmd(["save", "-q", "-o"]).arg(&saved).arg(&base).ok();
    own.cmd(["save", "-q", "-o"])
        .arg(&ours)
        .arg("localhost/ours")
        .ok();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| podman(dir.path(), args);
    podman(&["load", "-q", "-i", saved.to_str().unwrap()]);
    // Real root and many real ids read what we wrote, and build the same.
    podman(&["load", "-q", "-i", ours.to_str().unwrap()]);
    let arg = format!("BASE={base}");
    let context = c.dir.to_str().unwrap();
    podman(&[
        "build",
        "-q",
        "--network=host",
        "--isolation=chroot",
        "--build-arg",
        &arg,
        "-t",
        "theirs",
        context,
    ]);
    let list = |name: &str| {
        let at = podman(&["image", "mount", name]);
        listing(Path::new(at.trim()))
    };
    let (want, got) = (list("localhost/theirs"), list("localhost/ours"));
    podman(&["image", "unmount", "-a", "-f"]);
    assert!(want.len() > 100, "{want:?}");
    same("files", &want, &got);
    // The history has a line for each layer.
    let shown: Value = serde_json::from_str(&own.cmd(["inspect", &id]).ok().out()).unwrap();
    let history = shown[0]["History"].as_array().unwrap();
    let layers = history.iter().filter(|h| h["empty_layer"] != true).count();
    assert_eq!(
        layers,
        shown[0]["RootFS"]["Layers"].as_array().unwrap().len()
    );
    Ok(())
}

const CONFIGURATION: &str = "ARG BASE
FROM ${BASE}
ARG V=1 W
ENV A=\"b $V\" C='d $V' E=f\\ g
ENV OLD form  here
ENV A2=$A PATH=/x:$PATH
LABEL k=v \"q q\"=\"r $A\" n=${NONE:-m}
EXPOSE 80 90/udp
VOLUME /vol /vol2
VOLUME [\"/vol 3\"]
USER 7:8
WORKDIR /a
WORKDIR b
WORKDIR $C/../c
STOPSIGNAL SIGINT
CMD echo hi
ENTRYPOINT [\"/bin/sh\", \"-c\"]
HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --retries=4 CMD true
SHELL [\"/bin/sh\", \"-ec\"]
ONBUILD RUN echo
MAINTAINER me
";

fn configuration_as_podman_has_it(e: &Env) -> Done {
    peers(e)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let c = Context::new(&own, "config", CONFIGURATION);
    c.build(&["--format=docker", "-t", "localhost/ours"]).ok();
    let base = own.image("busybox");
    let saved = own.dir.join("base.tar");
    own.cmd(["save", "-q", "-o"]).arg(&saved).arg(&base).ok();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| podman(dir.path(), args);
    podman(&["load", "-q", "-i", saved.to_str().unwrap()]);
    let arg = format!("BASE={base}");
    let context = c.dir.to_str().unwrap();
    podman(&[
        "build",
        "-q",
        "--format=docker",
        "--network=host",
        "--isolation=chroot",
        "--build-arg",
        &arg,
        "-t",
        "theirs",
        context,
    ]);
    let read = |text: String| -> Value {
        let mut all: Value = serde_json::from_str(&text).unwrap();
        all[0].take()
    };
    let theirs = read(podman(&["inspect", "localhost/theirs"]));
    let ours = read(own.cmd(["inspect", "localhost/ours"]).ok().out());
    let (mut want, got) = (theirs["Config"].clone(), ours["Config"].clone());
    want["Labels"]
        .as_object_mut()
        .unwrap()
        .remove("io.buildah.version");
    // What an image says of its health podman shows outside of Config.
    let sorted = |config: &Value| -> Vec<String> {
        let env = config["Env"].as_array().unwrap().iter();
        let mut env: Vec<_> = env.map(|e| e.as_str().unwrap().to_owned()).collect();
        env.sort();
        env
    };
    // One that is there already stays in its place, as with docker.
    assert_eq!(sorted(&got), sorted(&want));
    for key in [
        "Labels",
        "ExposedPorts",
        "Volumes",
        "User",
        "WorkingDir",
        "StopSignal",
        "Cmd",
        "Entrypoint",
    ] {
        assert_eq!(got[key], want[key], "{key}");
    }
    let check = serde_json::json!({"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_u64, "Timeout": 60_000_000_000_u64,
        "StartPeriod": 2_000_000_000_u64, "Retries": 4});
    assert_eq!(got["Healthcheck"], check);
    assert_eq!(ours["Author"], "me");
    assert_eq!(got["OnBuild"], serde_json::json!(["RUN echo"]));
    assert_eq!(got["Shell"], serde_json::json!(["/bin/sh", "-ec"]));
    let by = |image: &Value| -> Vec<String> {
        let lines = image["History"].as_array().unwrap().iter();
        let lines = lines.map(|h| h["created_by"].as_str().unwrap().trim().to_owned());
        // WORKDIR with its value, ARG without its name: podman has what stood in the file.
        lines
            .filter(|l| !l.contains("WORKDIR") && !l.contains("ARG"))
            .collect()
    };
    same("history", &by(&theirs), &by(&ours));
    Ok(())
}

/// A real one: packages, a user, files of theirs, and a program that runs as them.
fn packages_install_in_a_build(e: &Env) -> Done {
    let own = e.with_own_store();
    let debian = own.image("debian");
    let file = format!(
        "FROM {debian}
ARG DEBIAN_FRONTEND=noninteractive
RUN {{ apt-get -qq update && [ -n \"$(ls /var/lib/apt/lists | grep Packages)\" ]; }} >/tmp/log 2>&1 || {{ echo no mirror; exit 77; }}
RUN apt-get -qq install -y --no-install-recommends cron >/tmp/log 2>&1 || {{ tail /tmp/log; exit 1; }}; rm /tmp/log
RUN useradd -m -s /bin/bash joe
COPY --chown=joe:crontab --chmod=640 app.conf /home/joe/app.conf
USER joe
WORKDIR /home/joe
RUN echo made >made
CMD stat -c '%U:%G %a %n' app.conf made . /usr/bin/crontab /var/spool/cron/crontabs; dpkg --audit; id -un
"
    );
    let c = Context::new(&own, "real", &file);
    c.file("app.conf", "x=1\n");
    let build = own.cmd(["build", "-t", "localhost/real"]);
    installed(build.arg(&c.dir).limit(400).run())?.code_is(0);
    let want = "joe:crontab 640 app.conf\njoe:joe 644 made\njoe:joe 755 .\nroot:crontab 2755 /usr/bin/crontab\n\
        root:crontab 1730 /var/spool/cron/crontabs\njoe\n";
    own.cmd(["run", "--rm", "--network=none", "localhost/real"])
        .ok()
        .out_is(want);
    Ok(())
}

fn steps_that_are_known_run_nothing(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(
        &own,
        "cache",
        "ARG BASE\nFROM $BASE\nARG V=1\nRUN echo first $RANDOM$V >/first\nCOPY f /f\nENV A=1\nRUN cat /f >/second\n",
    );
    let file = c.file("f", "1\n");
    let build = |flags: &[&str]| c.build(flags).ok();
    let cached = |out: &Output| out.out().matches("Using cache").count();
    let first = build(&[]);
    assert_eq!(cached(&first), 0);
    let again = build(&[]);
    assert_eq!(
        (cached(&again), id_of(&again)),
        (3, id_of(&first)),
        "{}",
        again.out()
    );
    // Another time is no other content; another mode is.
    Cmd::host(["touch", "-d", "2001-02-03"]).arg(&file).ok();
    assert_eq!(id_of(&build(&[])), id_of(&first));
    c.mode("f", 0o755);
    let other = build(&[]);
    assert_eq!(cached(&other), 1, "{}", other.out());
    assert_ne!(id_of(&other), id_of(&first));
    c.file("f", "2\n");
    assert_eq!(cached(&build(&[])), 1);
    assert_eq!(cached(&build(&["--build-arg=V=2"])), 0);
    assert_eq!(cached(&build(&["--no-cache"])), 0);
    // It keeps layers until somebody prunes.
    for id in own.cmd(["images", "-aq", "--no-trunc"]).ok().out().lines() {
        own.cmd(["rmi", "-f", id]).run();
    }
    own.cmd(["pull", "-q", &own.image("busybox")]).ok();
    assert_eq!(cached(&build(&[])), 3);
    own.cmd(["image", "prune", "-f"]).ok();
    assert_eq!(cached(&build(&[])), 0);
    own.cmd(["system", "check"]).ok();
    Ok(())
}

fn only_the_stages_that_are_needed(e: &Env) -> Done {
    let own = e.with_own_store();
    let base = own.image("busybox");
    let text = format!(
        "ARG BASE
FROM ${{BASE}} AS one
RUN mkdir /o; echo one >/o/file; chown 33:34 /o/file; chmod 4750 /o/file
FROM $BASE AS broken
RUN false
FROM scratch AS two
COPY --from=one /o /two
FROM one AS three
RUN echo three >/o/new
FROM two
COPY --from=2 --chown=1:2 /two/../two/file /chowned
COPY --from=three /o/ /three/
COPY --from={base} /bin/busybox /bin/sh
COPY --from={base} /bin/busybox /bin/stat
COPY --from={base} /bin/busybox /bin/cat
"
    );
    let c = Context::new(&own, "stages", &text);
    let out = c.build(&["-t", "localhost/last"]).ok();
    for part in ["[1/4] STEP 1/2: FROM", "[4/4] STEP 6/6: COPY"] {
        assert!(out.out().contains(part), "{part}: {}", out.out());
    }
    assert!(!out.out().contains("RUN false"));
    let seen = c.run(
        "localhost/last",
        "/bin/stat -c '%n %u:%g %a' /two/file /chowned /three/file; /bin/cat /three/file /three/new",
    );
    assert_eq!(
        seen,
        "/two/file 33:34 4750\n/chowned 1:2 4750\n/three/file 33:34 4750\none\nthree\n"
    );
    c.build(&["--target=one"]).ok().out_lacks("[1/");
    c.build(&["--target", "broken"])
        .run()
        .fails_with(1, "line 5: RUN false");
    c.build(&["--target=nope"]).run().fails_with(
        125,
        "there is no stage \"nope\"; there are: one, broken, two, three",
    );
    Ok(())
}

fn arguments_have_scopes(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(
        &own,
        "args",
        "ARG BASE
ARG G=global
FROM $BASE
RUN echo \"1 $G $HTTP_PROXY\" >/log
ARG G
ARG D=default-$G TARGETARCH
ENV E=env-$D
ARG E=hidden
RUN echo \"2 $G $D $E $TARGETARCH\" >>/log
FROM $BASE
RUN true
FROM 1
",
    );
    // The last stage is nothing but the name of an image that is none.
    let out = c.build(&[
        "--target=0",
        "-t",
        "localhost/args",
        "--build-arg",
        "D=given",
        "--build-arg",
        "HTTP_PROXY=p",
        "--build-arg",
        "X=1",
        "--platform=linux/amd64",
    ]);
    out.ok()
        .err_has("--build-arg X: there is no ARG X")
        .err_lacks("HTTP_PROXY");
    assert_eq!(
        c.run("localhost/args", "cat /log"),
        "1  p\n2 global given env-given amd64\n"
    );
    // A password in a proxy's address is in no image.
    let history = own
        .cmd([
            "history",
            "--no-trunc",
            "--format",
            "{{.CreatedBy}}",
            "localhost/args",
        ])
        .ok()
        .out();
    assert!(
        history.contains("|3 D=given G=global TARGETARCH=amd64 "),
        "{history}"
    );
    assert!(!history.contains("PROXY="), "{history}");
    Ok(())
}

fn documents_in_the_file(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(
        &own,
        "documents",
        "# syntax=docker/dockerfile:1
ARG BASE
FROM $BASE
ENV V=value
COPY --chown=5:6 --chmod=640 <<A <<-\"B\" /docs/
$V \\$V \"q\" ${V%e}
A
\t\ttabs $V
\tB
COPY <<EOF /single
one
EOF
RUN <<EOF
set -e
echo run $V >/ran
# a comment of the shell's
cat >>/ran <<INNER
inner
INNER
EOF
RUN cat >/piped <<ONE && cat >>/piped <<'TWO'
$V
ONE
$V
TWO
",
    );
    c.build(&["-t", "localhost/docs"]).ok();
    let look =
        "cat /docs/A /docs/B /single /ran /piped; stat -c '%u:%g %a' /docs/A /docs/B /single";
    assert_eq!(
        c.run("localhost/docs", look),
        "value $V \"q\" valu\ntabs $V\none\nrun value\ninner\nvalue\n$V\n5:6 640\n5:6 640\n0:0 644\n"
    );
    Ok(())
}

fn what_is_ignored_is_not_there(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(
        &own,
        "ignored",
        "ARG BASE\nFROM $BASE\nCOPY . /c\nCOPY --exclude=*.txt --exclude=sub src /e\n",
    );
    for name in [
        "keep",
        "secret",
        "src/a.txt",
        "src/a.o",
        "src/sub/b",
        "src/sub/b.o",
        "node/x/y",
        "node/keep/z",
    ] {
        c.file(name, name);
    }
    c.file(
        ".dockerignore",
        "# comment\nsecret\n**/*.o\nnode\n!node/keep\nContainerfile*\n.dockerignore\n",
    );
    c.build(&["-t", "localhost/i"]).ok();
    let found = c.run(
        "localhost/i",
        "cd /c; find . -type f | sort; cd /e; find . | sort",
    );
    assert_eq!(
        found,
        "./keep\n./node/keep/z\n./src/a.txt\n./src/sub/b\n.\n"
    );
    // One of the Containerfile's own counts instead.
    c.file("Containerfile.dockerignore", "*\n!keep\n");
    c.file("Containerfile", "ARG BASE\nFROM $BASE\nCOPY . /c\n");
    c.build(&["-t", "localhost/i"]).ok();
    assert_eq!(c.run("localhost/i", "cd /c; find . -type f"), "./keep\n");
    c.file("Containerfile.dockerignore", "src\nsecret\n");
    c.file("Containerfile", "FROM scratch\nCOPY secret /\n");
    c.build(&[]).run().fails_with(125, "line 2: COPY secret /");
    c.file("Containerfile", "FROM scratch\nCOPY src /\n");
    c.build(&[])
        .run()
        .fails_with(125, "no such file to copy, or it is ignored");
    Ok(())
}

/// Symlinks and `..` stop at the context, and at the root of the image.
fn nothing_leads_out_of_the_context(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(&own, "c", "");
    let outside = own.file("outside", "stolen");
    c.file("a", "own\n");
    c.file("etc/passwd", "of the context\n");
    c.link("up", "../outside");
    c.link("absolute", outside.to_str().unwrap());
    c.link("passwd", "/etc/passwd");
    c.link("loop", "loop");
    c.link("dir", "..");
    let build = |line: &str| {
        let text = "ARG BASE\nFROM $BASE\nRUN ln -s ../../../../../../.. /t && ln -s /l2 /l1 && ln -s /l1 /l2";
        c.file("Containerfile", format!("{text}\n{line}\n"));
        c.build(&["-t", "localhost/c"]).run()
    };
    for source in [
        "up",
        "absolute",
        "../outside",
        "dir/outside",
        "loop",
        "a/b",
        "nope",
        "n*",
    ] {
        let line = format!("COPY {source} /stolen");
        build(&line).fails_with(125, "line 4: COPY");
    }
    build("COPY passwd /t/got\nCOPY ../../a /t/../dotted").code_is(0);
    assert_eq!(
        c.run("localhost/c", "cat /got /dotted"),
        "of the context\nown\n"
    );
    build("COPY a /l1/x").fails_with(125, "too many symbolic links");
    build("COPY a /bin").code_is(0);
    build("COPY a /bin/busybox/x")
        .fails_with(125, "it is a file, and no directory can take its place");
    c.file("bin/busybox/x", "");
    build("COPY bin /bin").fails_with(125, "it is a file, and no directory can take its place");
    c.file("root/etc", "");
    build("COPY root /").fails_with(125, "it is a directory, and no file can take its place");
    Cmd::host(["mkfifo"]).arg(c.dir.join("fifo")).ok();
    build("COPY fifo /fifo").code_is(0);
    assert_eq!(c.run("localhost/c", "stat -c %F /fifo"), "fifo\n");
    // Nor is one opened that is called like the file to read.
    fs::remove_file(c.dir.join("Containerfile")).unwrap();
    Cmd::host(["mkfifo"]).arg(c.dir.join("Containerfile")).ok();
    c.build(&[]).run().fails_with(125, "not a regular file");
    assert_eq!(own.cmd(["ps", "-aq"]).ok().out(), "");
    Ok(())
}

fn tars_are_unpacked_where_they_belong(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(&own, "tars", "");
    let build = |tar: Vec<u8>, line: &str| {
        c.file("x.tar", tar);
        let text = "ARG BASE\nFROM $BASE\nRUN mkdir /real && ln -s /real /ln";
        c.file("Containerfile", format!("{text}\n{line}\n"));
        c.build(&["-t", "localhost/t"]).run()
    };
    let tar = Tar::new()
        .dir(b"./")
        .program(b"./ln/in-real", b"1")
        .symlink(b"own", b"/etc")
        .file(b"own/made", b"2")
        .file(b"/rooted", b"3")
        .end();
    build(tar.clone(), "ADD x.tar /").code_is(0);
    let look = "cat /real/in-real /etc/made /rooted; stat -c %a /real/in-real /; stat -c %F /ln";
    assert_eq!(c.run("localhost/t", look), "123755\n755\nsymbolic link\n");
    // COPY leaves it as it is, and so does ADD of what only looks like one.
    build(tar, "COPY x.tar /\nRUN tar -tf /x.tar | wc -l >/n").code_is(0);
    assert_eq!(c.run("localhost/t", "cat /n"), "5\n");
    build(b"no tar".to_vec(), "ADD x.tar /").code_is(0);
    assert_eq!(c.run("localhost/t", "cat /x.tar"), "no tar");
    let evil = Tar::new().file(b"../../evil", b"").end();
    build(evil, "ADD x.tar /").fails_with(125, "leads out of the directory");
    build(b"BZh91AY&SY".to_vec(), "ADD x.tar /").fails_with(125, "bzip2");
    let mut cut = Tar::new().file(b"long", [0; 4096]).end();
    cut.truncate(1024);
    build(cut, "ADD x.tar /").fails_with(125, "not a tar that can be read");
    Ok(())
}

fn a_failure_tells_its_line_and_leaves_nothing(e: &Env) -> Done {
    let own = e.with_own_store();
    let text = "ARG BASE\nFROM $BASE\n\n# comment\nRUN echo made >/made \\\n  && exit 7\n";
    let c = Context::new(&own, "fails", text);
    let before = own.cmd(["images", "-aq"]).ok().out();
    c.build(&["-t", "localhost/never"]).run().fails_with(
        7,
        "line 5: RUN echo made >/made   && exit 7: \"/bin/sh -c echo made >/made   && exit 7\" ended with code 7",
    );
    assert_eq!(own.cmd(["ps", "-aq"]).ok().out(), "");
    let after = own.cmd(["images", "-aq"]).ok().out();
    // The base was pulled for the build.
    assert!(!after.contains("never") && after.lines().count() <= before.lines().count() + 1);
    own.nothing_unfinished();
    for (text, code, message) in [
        (
            "FROM a\nRNU x\n",
            125,
            "line 2: \"RNU\" is not an instruction",
        ),
        ("FROM scratch\nCOPY --from=none /a /b\n", 125, "line 2"),
        ("FROM scratch\nRUN x\n", 127, "line 2: RUN x"),
        (
            "FROM scratch\nENV A=\"${B:?say it}\"\n",
            125,
            "B must be set: say it",
        ),
        ("", 125, "there is no FROM"),
    ] {
        c.file("Containerfile", text);
        c.build(&["--pull=never"]).run().fails_with(code, message);
    }
    fs::remove_file(c.dir.join("Containerfile")).unwrap();
    c.build(&[])
        .run()
        .fails_with(125, "neither a Containerfile nor a Dockerfile");
    Ok(())
}

/// In two stores, at two times.
fn the_same_time_is_the_same_image(e: &Env) -> Done {
    let base = e.image("busybox");
    let text =
        "ARG BASE\nFROM $BASE\nRUN echo x >/x; mkdir /d\nCOPY f /n/f\nWORKDIR /w/x\nLABEL a=b\n";
    let ids = [1, 2].map(|n| {
        let own = e.with_root(e.dir.join(format!("store{n}")));
        own.cmd(["pull", "-q", &base]).ok();
        let c = Context::new(&own, &format!("same{n}"), text);
        c.file("f", "f");
        let build = own.cmd(["build", "--network=none", "--build-arg"]);
        let build = build.arg(format!("BASE={base}")).arg(&c.dir);
        let id = id_of(&build.env("SOURCE_DATE_EPOCH", "1000000000").ok());
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let shown: Value = serde_json::from_str(&own.cmd(["inspect", &id]).ok().out()).unwrap();
        let created = shown[0]["Created"].as_str().unwrap();
        assert!(created.starts_with("2001-09-09T01:46:40"), "{created}");
        id
    });
    assert_eq!(ids[0], ids[1]);
    Ok(())
}

fn what_a_base_wants_done(e: &Env) -> Done {
    let own = e.with_own_store();
    let text = "ARG BASE\nFROM $BASE\nONBUILD COPY f /f\nONBUILD RUN <<E\ncat /f >/g\nE\nONBUILD ENV T=t\n";
    let base = Context::new(&own, "base", text);
    base.build(&["-t", "localhost/base:1"]).ok();
    let c = Context::new(&own, "on", "FROM localhost/base:1\nRUN echo $T >>/g\n");
    c.file("f", "f\n");
    let built = c.build(&["-t", "localhost/on"]).ok();
    built.out_has("STEP 5/5: RUN echo $T");
    assert_eq!(c.run("localhost/on", "cat /g"), "f\nt\n");
    let shown = own.cmd(["inspect", "localhost/on"]).ok().out();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown[0]["Config"]["OnBuild"].is_null(), "{shown}");
    Ok(())
}

fn what_is_not_honoured_is_an_error(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(&own, "refused", "");
    for (line, message) in [
        (
            "RUN --security=insecure true",
            "needs rights that a rootless build has not",
        ),
        (
            "RUN --device=/dev/x true",
            "RUN --device is not supported yet",
        ),
        ("ADD git@github.com:a/b.git /x", "is not supported yet"),
        ("COPY --nope a b", "COPY has no flag --nope"),
        ("EXPOSE 70000", "is not a port"),
        ("COPY --chmod=u=q a b", "is not a mode"),
        ("COPY --chown=nobody-here Containerfile /x", "nobody-here"),
    ] {
        c.file("Containerfile", format!("ARG BASE\nFROM $BASE\n{line}\n"));
        c.build(&[])
            .run()
            .fails_with(125, message)
            .err_has("line 3");
    }
    let address = own.cmd(["build", "https://example.com/x.tar"]);
    address.run().fails_with(125, "is not supported yet");
    Ok(())
}

fn a_signal_ends_a_build(e: &Env) -> Done {
    let own = e.with_own_store();
    let c = Context::new(
        &own,
        "signal",
        "ARG BASE\nFROM $BASE\nRUN echo ready; sleep 1000\nRUN echo never\n",
    );
    let p = c.build(&[]).spawn();
    p.wait_for("\nready");
    p.signal(rustix::process::Signal::TERM);
    let out = p.wait();
    assert!(
        out.code() != 0 && !out.out().contains("STEP 4"),
        "{}",
        out.out()
    );
    assert_eq!(own.cmd(["ps", "-aq"]).ok().out(), "");
    own.nothing_unfinished();
    Ok(())
}
