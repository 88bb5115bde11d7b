//! Volumes under attack: races, kills, names and images that want out.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::commit::kept;
use crate::harness::{Done, Env, Evil, Image, Tar};

suite!(
    hostile_names,
    a_volume_in_use_stays,
    several_make_and_fill_one_volume,
    removed_while_others_take_it,
    a_copy_killed_at_any_time,
    a_copy_leaves_what_is_written_meanwhile,
    anonymous_volumes_of_a_killed_container,
    declared_places_that_lead_out,
    declared_places_that_are_none,
    a_tar_that_wants_out,
    a_store_of_an_earlier_version,
);

#[track_caller]
fn volumes(e: &Env) -> Vec<String> {
    let out = e.cmd(["volume", "ls", "-q"]).ok().out();
    out.lines().map(str::to_owned).collect()
}

fn hostile_names(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let long = "x".repeat(201);
    for name in [
        "../x",
        "..",
        ".",
        "a/b",
        "/abs",
        "",
        "-x",
        "a b",
        "a\nb",
        "a\u{1b}[2J",
        "ü",
        &long,
    ] {
        own.cmd(["volume", "create", "--", name])
            .run()
            .fails_with(125, "name");
        own.cmd(["volume", "rm", "--", name]).run().code_is(1);
        own.cmd(["volume", "rm", "-f", "--", name]).run().code_is(0);
        own.cmd(["volume", "inspect", "--", name])
            .run()
            .fails_with(125, "no such volume");
        own.cmd(["volume", "export", "--", name])
            .run()
            .fails_with(125, "no such volume");
        own.cmd(["volume", "exists", "--", name]).run().code_is(1);
        let mount = format!("type=volume,source={name},target=/v");
        let out = own.run_name(&["--mount", &mount], &image, &["true"]).run();
        // Without a name it is an anonymous one.
        assert_eq!(
            out.code(),
            if name.is_empty() { 0 } else { 125 },
            "{name:?}: {out:?}"
        );
    }
    for v in [
        "a/b:/v",
        "-x:/v",
        ":/v",
        "x:v",
        "x:/",
        "x:/a/../b",
        "x:/v:fly",
        "x:/v:ro:z",
    ] {
        let out = own.run_name(&["-v", v], &image, &["true"]).run();
        out.code_is(125);
    }
    assert!(volumes(&own).is_empty());
    let strangers = std::fs::read_dir(own.root()).unwrap().count();
    own.cmd(["volume", "create", "fine_1.2-3"]).ok();
    assert_eq!(std::fs::read_dir(own.root()).unwrap().count(), strangers);
    Ok(())
}

fn a_volume_in_use_stays(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "ended", &["-v", "one:/v"], &image, "true");
    let p = own
        .run_name(
            &["-v", "two:/v"],
            &image,
            &["sh", "-c", "echo ready; sleep 600"],
        )
        .spawn();
    p.wait_for("ready");
    own.cmd(["volume", "rm", "one", "two"])
        .run()
        .fails_with(2, "is being used by the following container(s)");
    own.cmd(["volume", "prune", "-f"]).ok().out_is("");
    own.cmd(["volume", "rm", "--force", "one"])
        .ok()
        .out_is("one\n");
    own.cmd(["ps", "-aq", "--filter", "name=ended"])
        .ok()
        .out_is("");
    // One that is killed without a word has it no more, either.
    p.signal(Signal::KILL);
    let _ = p.wait();
    own.cmd(["volume", "rm", "two"]).ok();
    let p = own
        .run_name(
            &["-v", "three:/v"],
            &image,
            &["sh", "-c", "echo ready; sleep 600"],
        )
        .spawn();
    p.wait_for("ready");
    own.cmd(["volume", "rm", "-f", "-t", "0", "three"])
        .ok()
        .out_is("three\n");
    p.wait().code_is(137);
    assert!(volumes(&own).is_empty());
    Ok(())
}

/// An image whose /data has as many files as make a copy take its time.
fn with_many_files(own: &Env) -> String {
    let image = own.image("busybox");
    let script = "mkdir /data; cd /data; for d in $(seq 20); do mkdir d$d; for f in $(seq 30); do echo $d-$f >d$d/f$f; done; \
        chown 7:8 d$d/f1; ln -s f1 d$d/link; chown -h 9 d$d/link; chmod 500 d$d; done; chown 5:6 .";
    kept(own, "maker", &[], &image, script);
    own.cmd(["commit", "-q", "maker", "localhost/many"]).ok();
    own.cmd(["rm", "maker"]).ok();
    "localhost/many".to_owned()
}

/// One line for each file, with its owner.
const ALL: &str =
    "cd /data; find . | sort | xargs stat -c '%n %u:%g %f %s'; cat d*/f* | sort | tail -n 1";

fn several_make_and_fill_one_volume(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_many_files(&own);
    let want = own.run_name(&[], &image, &["sh", "-c", ALL]).ok().out();
    assert!(want.lines().count() > 640);
    for round in 0..3 {
        let v = format!("data{round}:/data");
        let all = [0; 5].map(|_| {
            own.run_name(&["-v", &v], &image, &["sh", "-c", ALL])
                .spawn()
        });
        for p in all {
            p.wait().code_is(0).out_is(&want);
        }
    }
    assert_eq!(volumes(&own).len(), 3);
    own.nothing_unfinished();
    Ok(())
}

fn removed_while_others_take_it(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let end = Instant::now() + Duration::from_secs(6);
    std::thread::scope(|scope| {
        for n in 0..3 {
            let (own, image) = (&own, &image);
            scope.spawn(move || {
                let script = format!("echo x >/v/{n}; cat /v/{n}");
                while Instant::now() < end {
                    let out = own.run_name(&["-v", "data:/v"], image, &["sh", "-c", &script]);
                    out.ok().out_is("x\n");
                }
            });
        }
        scope.spawn(|| {
            while Instant::now() < end {
                let out = own.cmd(["volume", "rm", "data"]).run();
                assert!([0, 1, 2].contains(&out.code()), "{out:?}");
                own.cmd(["volume", "prune", "-f"]).ok();
            }
        });
    });
    own.nothing_unfinished();
    Ok(())
}

fn a_copy_killed_at_any_time(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_many_files(&own);
    let want = own.run_name(&[], &image, &["sh", "-c", ALL]).ok().out();
    let run = own.run_name(&["-v", "data:/data"], &image, &["sh", "-c", ALL]);
    let started = Instant::now();
    run.ok().out_is(&want);
    let most = u64::try_from(started.elapsed().as_millis()).unwrap();
    own.cmd(["volume", "rm", "data"]).ok();
    let mut partial = 0;
    for i in 0..30 {
        let p = run.spawn();
        std::thread::sleep(Duration::from_micros(most * 1000 * i / 30));
        p.signal(Signal::KILL);
        let _ = p.wait();
        let dir = own.root().join("volumes/data");
        partial += usize::from(dir.join("filling").exists() || dir.join("filled").exists());
        run.ok().out_is(&want);
        let mut left: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["_data", "owners", "volume.json"], "round {i}");
        own.cmd(["volume", "rm", "data"]).ok();
    }
    assert!(partial > 0, "no kill hit a copy");
    own.nothing_unfinished();
    Ok(())
}

fn a_copy_leaves_what_is_written_meanwhile(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = with_many_files(&own);
    let busybox = own.image("busybox");
    // It has the empty volume, from an image that has nothing to put there.
    let script = "echo ready; while [ ! -e /v/d20/f30 ]; do sleep 0.02; done; find /v | wc -l";
    let p = own
        .run_name(&["-v", "data:/v"], &busybox, &["sh", "-c", script])
        .spawn();
    p.wait_for("ready");
    own.run_name(&["-v", "data:/data"], &image, &["true"]).ok();
    p.wait().code_is(0).out_is("641\n");
    // A copy that was complete and not yet moved, and a file that somebody has written since.
    let dir = own.root().join("volumes/data");
    let (data, filled) = (dir.join("_data"), dir.join("filled"));
    std::fs::create_dir(&filled).unwrap();
    own.give(&filled);
    for (name, text) in [("fresh", "from the image"), ("mine", "from the image")] {
        std::fs::write(filled.join(name), text).unwrap();
        own.give(&filled.join(name));
    }
    std::fs::write(data.join("mine"), "mine").unwrap();
    own.give(&data.join("mine"));
    let record = std::fs::read_to_string(dir.join("volume.json")).unwrap();
    std::fs::write(
        dir.join("volume.json"),
        record.replace("\"needsCopyUp\":false", "\"needsCopyUp\":true"),
    )
    .unwrap();
    let seen = own.run_name(
        &["-v", "data:/v"],
        &busybox,
        &["cat", "/v/fresh", "/v/mine"],
    );
    seen.ok().out_is("from the imagemine");
    assert!(!filled.exists());
    Ok(())
}

fn anonymous_volumes_of_a_killed_container(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let p = own
        .run_name(
            &["-v", "/v", "-v", "named:/n"],
            &image,
            &["sh", "-c", "touch /v/x; echo ready; sleep 600"],
        )
        .spawn();
    p.wait_for("ready");
    assert_eq!(volumes(&own).len(), 2);
    p.signal(Signal::KILL);
    let _ = p.wait();
    own.run_name(&[], &image, &["true"]).ok();
    assert_eq!(volumes(&own), ["named"]);
    // At any time of a start.
    for i in 0..25 {
        let p = own
            .run_name(&["-v", "/a", "-v", "/b"], &image, &["true"])
            .spawn();
        std::thread::sleep(Duration::from_micros(3000 * i));
        p.signal(Signal::KILL);
        let _ = p.wait();
    }
    own.run_name(&[], &image, &["true"]).ok();
    assert_eq!(volumes(&own), ["named"]);
    own.nothing_unfinished();
    Ok(())
}

/// An image of these files that declares these volumes.
fn declaring(tar: Vec<u8>, volumes: &[&str]) -> Evil {
    let mut image = Image::new(&[tar]);
    let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
    for path in volumes {
        config["config"]["Volumes"][*path] = serde_json::json!({});
    }
    image.config = config.to_string().into_bytes();
    image.remake(|_| ());
    Evil::honest(image)
}

fn declared_places_that_lead_out(e: &Env) -> Done {
    let outside = e.subdir("outside");
    let secret = outside.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    e.give(&secret);
    let there = outside.display().to_string();
    let up = format!("{}{there}", "../".repeat(40));
    for (i, to) in [
        there.as_str(),
        &up,
        "/proc/self/root",
        "/proc/self/cwd",
        ".",
    ]
    .into_iter()
    .enumerate()
    {
        let tar = Tar::busybox()
            .dir("inside")
            .symlink("evil", to)
            .symlink("inside/deep", to)
            .end();
        let evil = declaring(tar, &["/evil", "/inside/deep"]);
        let own = e.with_root(e.dir.join(format!("store{i}")));
        own.cmd(["pull", "-q", &evil.name()]).ok();
        // It may start, with a volume in the place inside that the link leads to, or be refused.
        let script = "busybox find /evil/ /inside/deep/ -name secret 2>/dev/null; busybox touch /evil/made /inside/deep/made; true";
        let out = own
            .run_name(&["-v", "n:/evil/sub"], &evil.name(), &["sh", "-c", script])
            .run();
        assert!(!out.out().contains("secret"), "{to}: {out:?}");
        assert!(out.code() == 0 || out.code() == 125, "{to}: {out:?}");
        let names: Vec<_> = std::fs::read_dir(&outside)
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"], "{to}");
        let copied = crate::harness::Cmd::host(["find"])
            .arg(own.root().join("volumes"))
            .args(["-name", "secret"]);
        copied.ok().out_is("");
    }
    Ok(())
}

fn declared_places_that_are_none(e: &Env) -> Done {
    let many: Vec<String> = (0..300).map(|n| format!("/v{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (i, places) in [&["/"][..], &["/../x"], &["a/../../b"], &[""], &many]
        .into_iter()
        .enumerate()
    {
        let evil = declaring(Tar::busybox().end(), places);
        let own = e.with_root(e.dir.join(format!("store{i}")));
        own.cmd(["pull", "-q", &evil.name()]).ok();
        let out = own.run_name(&[], &evil.name(), &["busybox", "true"]).run();
        out.fails_with(125, "declares a volume");
        assert!(volumes(&own).is_empty());
        own.run_name(
            &["--image-volume=ignore"],
            &evil.name(),
            &["busybox", "true"],
        )
        .ok();
    }
    // A file, a link that leads nowhere, and a path without a slash have a volume all the same, or are refused.
    let tar = Tar::busybox()
        .file("file", "x")
        .symlink("loop", "loop")
        .end();
    let evil = declaring(tar, &["/file", "/loop", "relative"]);
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()]).ok();
    let out = own.run_name(&[], &evil.name(), &["busybox", "true"]).run();
    assert!(out.code() == 0 || out.code() == 125, "{out:?}");
    assert!(volumes(&own).is_empty());
    own.nothing_unfinished();
    Ok(())
}

fn a_tar_that_wants_out(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let outside = e.subdir("outside");
    let to = outside.display().to_string();
    own.cmd(["volume", "create", "data"]).ok();
    own.run_name(
        &["-v", "data:/v"],
        &image,
        &["sh", "-c", &format!("ln -s {to} /v/old")],
    )
    .ok();
    for tar in [
        Tar::new()
            .symlink("link", &to)
            .file("link/escaped", "x")
            .end(),
        Tar::new().file("old/escaped", "x").end(),
        Tar::new().file("../escaped", "x").end(),
        Tar::new().file("../../../escaped", "x").end(),
    ] {
        let out = own.cmd(["volume", "import", "data", "-"]).stdin(tar).run();
        assert!(out.code() == 0 || out.code() == 125, "{out:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
    let record = std::fs::read_to_string(own.root().join("volumes/data/volume.json")).unwrap();
    assert!(record.contains("\"name\":\"data\""), "{record}");
    own.nothing_unfinished();
    Ok(())
}

fn a_store_of_an_earlier_version(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    // It has no directory of volumes.
    std::fs::remove_dir(own.root().join("volumes")).unwrap();
    assert!(volumes(&own).is_empty());
    own.cmd(["volume", "prune", "-f"]).ok();
    own.cmd(["system", "df"]).ok();
    own.run_name(&["-v", "data:/v"], &image, &["true"]).ok();
    assert_eq!(volumes(&own), ["data"]);
    Ok(())
}
