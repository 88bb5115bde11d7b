//! Names and links that lead out of the root file system, and devices.

use super::{harmless, nothing_left, outside, refused, unchanged};
use crate::harness::{Done, Env, Evil, Image, Tar, walk};

suite!(
    dot_dot_names,
    absolute_names,
    symlink_escape,
    symlink_escape_of_an_earlier_layer,
    hard_link_escape,
    hard_link_through_a_symlink,
    hard_link_to_an_earlier_layer,
    whiteout_of_dot_dot,
    opaque_outside,
    devices,
);

fn dot_dot_names(e: &Env) -> Done {
    for name in [
        "../escaped",
        "a/../../escaped",
        "a/../../../../../../../../tmp/escaped",
        "..",
        "../../../store/meta.json",
    ] {
        let evil = Evil::honest(Image::new(&[Tar::busybox().file(name, "x").end()]));
        refused(e, &evil, "..");
    }
    Ok(())
}

fn absolute_names(e: &Env) -> Done {
    // As tar and docker do: relative to the root.
    let name = e.dir.join("escaped").display().to_string();
    if let Some(own) = harmless(
        e,
        &[Tar::busybox()
            .file(&name, "x")
            .file("//tmp//escaped", "y")
            .end()],
    ) {
        let out = own.run_name(&[], "attack", &["cat", &name, "/tmp/escaped"]);
        out.ok().out_is("xy");
    }
    Ok(())
}

fn symlink_escape(e: &Env) -> Done {
    let target = e.dir.display().to_string();
    for link in [
        target.as_str(),
        "../../../../../../../../../../tmp",
        "/tmp",
        "/proc/self/root/tmp",
        ".",
    ] {
        // Through a link of the same layer.
        let own = harmless(
            e,
            &[Tar::busybox()
                .symlink("l", link)
                .file("l/escaped", "x")
                .end()],
        );
        if let Some(own) = own {
            assert!(own.run_name(&[], "attack", &["ls", "/"]).run().code() == 0);
        }
        // A file over a link replaces the link, and does not follow it.
        let file = format!("{link}/escaped");
        let _ = harmless(
            e,
            &[Tar::busybox().symlink("f", &file).file("f", "x").end()],
        );
    }
    Ok(())
}

fn symlink_escape_of_an_earlier_layer(e: &Env) -> Done {
    let target = e.dir.display().to_string();
    for link in [target.as_str(), "../../../../../../../../tmp", "/"] {
        let first = Tar::busybox().symlink("l", link).end();
        let second = Tar::new().file("l/escaped", "x").dir("l/escaped-dir").end();
        let third = Tar::new()
            .file("l/.wh.victim", "")
            .file("l/.wh..wh..opq", "")
            .end();
        let _ = harmless(e, &[first, second, third]);
    }
    Ok(())
}

fn hard_link_escape(e: &Env) -> Done {
    let victim = e.dir.join("victim").display().to_string();
    let deep = "../../../../../../../../../../../../etc/passwd";
    for target in [
        victim.as_str(),
        deep,
        "/etc/passwd",
        "../meta.json",
        "../../../meta.json",
    ] {
        let own = harmless(e, &[Tar::busybox().hardlink("stolen", target).end()]);
        if let Some(own) = own {
            let out = own.run_name(&[], "attack", &["cat", "/stolen"]).run();
            assert!(
                !out.out().contains("untouched") && !out.out().contains("root:"),
                "{out:?}"
            );
        }
    }
    Ok(())
}

fn hard_link_through_a_symlink(e: &Env) -> Done {
    let dir = e.dir.display().to_string();
    let own = harmless(
        e,
        &[Tar::busybox()
            .symlink("l", &dir)
            .hardlink("stolen", "l/victim")
            .file("stolen", "overwritten")
            .end()],
    );
    if let Some(own) = own {
        own.run_name(&[], "attack", &["cat", "/stolen"])
            .ok()
            .out_is("overwritten");
    }
    // To a link itself: a second name of the link, not of what it points to.
    let own = harmless(
        e,
        &[Tar::busybox()
            .symlink("l", format!("{dir}/victim"))
            .hardlink("h", "l")
            .end()],
    );
    if let Some(own) = own {
        let out = own.run_name(&[], "attack", &["cat", "/h"]).run();
        assert!(!out.out().contains("untouched"), "{out:?}");
    }
    Ok(())
}

fn hard_link_to_an_earlier_layer(e: &Env) -> Done {
    // Legal, if rare: the file exists only below.
    let own = harmless(
        e,
        &[
            Tar::busybox().file("below", "content\n").end(),
            Tar::new().hardlink("above", "below").end(),
        ],
    );
    if let Some(own) = own {
        own.run_name(&[], "attack", &["cat", "/above"])
            .ok()
            .out_is("content\n");
    }
    Ok(())
}

fn whiteout_of_dot_dot(e: &Env) -> Done {
    for name in [
        ".wh...",
        ".wh..",
        "bin/.wh...",
        ".wh.",
        "a/.wh.",
        ".wh./",
        ".wh.../x",
    ] {
        let evil = Evil::honest(Image::new(&[
            Tar::busybox().end(),
            Tar::new().file(name, "").end(),
        ]));
        let own = e.with_own_store();
        let before = outside(e);
        let out = own.cmd(["pull", "-q", &evil.name()]).run();
        unchanged(e, &before);
        if out.code() == 0 {
            // Read as an ordinary name, it must have deleted nothing.
            own.run_name(&[], &evil.name(), &["ls", "/bin/busybox"])
                .ok();
            own.cmd(["rmi", &evil.name()]).ok();
        } else {
            out.code_is(125);
            nothing_left(&own);
        }
    }
    Ok(())
}

fn opaque_outside(e: &Env) -> Done {
    let evil = Evil::honest(Image::new(&[Tar::busybox()
        .file("../.wh..wh..opq", "")
        .end()]));
    refused(e, &evil, "..");
    Ok(())
}

fn devices(e: &Env) -> Done {
    // Block and character devices become records, never nodes that open the machine's disk.
    let size = b"00000000000\0";
    let tar = Tar::busybox()
        .header(b"disk", b'4', 0o666, b"", size)
        .header(b"mem", b'3', 0o666, b"", size);
    if let Some(own) = harmless(e, &[tar.end()]) {
        let out = own
            .run_name(
                &[],
                "attack",
                &[
                    "sh",
                    "-c",
                    // They say what they are in the image, and there is nothing behind them.
                    "ls -l /disk /mem | cut -c1; cat /disk /mem | wc -c; echo x >/disk; cat /disk",
                ],
            )
            .ok()
            .out();
        assert_eq!(out, "b\nc\n0\nx\n");
        for line in walk::tree(&own.root().join("layers"), &[]) {
            assert!(!line.contains(" b ") && !line.contains(" c "), "{line}");
        }
    }
    Ok(())
}
