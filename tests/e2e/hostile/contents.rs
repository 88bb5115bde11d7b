//! What is in an image and meant for those who look at it or run it.

use super::{harmless, refused, simple};
use crate::harness::{Done, Env, Evil, Feature, Image, Reply, Tar};

suite!(
    control_characters_in_names,
    control_characters_in_errors,
    overlay_marks_in_a_layer,
    hostile_passwd,
    hostile_working_directory,
);

fn control_characters_in_names(e: &Env) -> Done {
    // A name that would clear the screen, in an entry that is refused for another reason.
    let name = b"\x1b[2J\x1b]0;gotcha\x07/../../escaped";
    let evil = Evil::honest(Image::new(&[Tar::busybox().file(name, "x").end()]));
    let out = refused(e, &evil, "");
    assert!(
        !out.stderr.contains(&0x1b) && !out.stderr.contains(&7),
        "{out:?}"
    );
    Ok(())
}

fn control_characters_in_errors(e: &Env) -> Done {
    let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2Jno\\u0007\",\"detail\":\"\\u001b]0;x\\u0007\"}]}";
    let evil =
        Evil::new(move |_, _| Reply::new(403, body).header("Warning", "299 - \"\u{1b}[31mred\""));
    let out = refused(e, &evil, "");
    assert!(
        !out.stderr.contains(&0x1b) && !out.stderr.contains(&7),
        "{out:?}"
    );
    Ok(())
}

fn overlay_marks_in_a_layer(e: &Env) -> Done {
    // xattrs that overlay would take for its own: a redirect to another directory, an opaque mark.
    e.need(Feature::Overlay)?;
    let marks: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.overlay.redirect", b"/../../../../etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        (
            "SCHILY.xattr.user.containers.override_stat",
            b"0:0:0104755:file",
        ),
    ];
    let first = Tar::busybox().dir("bin2").file("bin2/kept", "kept").end();
    let second = Tar::new()
        .pax(&marks)
        .dir("bin2")
        .pax(&marks)
        .file("f", "x")
        .end();
    if let Some(own) = harmless(e, &[first, second]) {
        let out = own.cmd([
            "run",
            "--rm",
            "--network=none",
            "attack",
            "sh",
            "-c",
            "cat /bin2/kept; [ -u /f ] || echo not set-id",
        ]);
        out.ok().out_is("keptnot set-id\n");
    }
    Ok(())
}

fn hostile_passwd(e: &Env) -> Done {
    // /etc/passwd of the image is read to find a user: it may be a link out, a fifo, or huge.
    let fifo = Tar::busybox()
        .header(b"etc/passwd", b'6', 0o644, b"", b"00000000000\0")
        .end();
    let link = Tar::busybox()
        .symlink("etc/passwd", "../../../../../../../../etc/passwd")
        .end();
    let device = Tar::busybox().symlink("etc/passwd", "/dev/zero").end();
    let huge = Tar::busybox()
        .file("etc/passwd", vec![b'x'; 64 << 20])
        .end();
    for (i, tar) in [fifo, link, device, huge].into_iter().enumerate() {
        let evil = Evil::honest(Image::new(&[tar]));
        let own = e.with_root(e.dir.join(format!("store{i}")));
        own.cmd(["pull", "-q", &evil.name()]).ok();
        let out = own
            .cmd([
                "run",
                "--rm",
                "--network=none",
                "-u",
                "daemon",
                &evil.name(),
                "id",
                "-u",
            ])
            .run();
        assert_eq!(out.code(), 125, "a user from nowhere: {out:?}");
        // A number needs no look into the file; a refusal is clear as well.
        let flags = ["run", "--rm", "--network=none", "-u", "7"];
        let out = own
            .cmd(flags)
            .arg(evil.name())
            // Not id(1), which reads the file itself and would wait for ever.
            .args(["busybox", "stat", "-L", "-c", "%u", "/proc/self"])
            .run();
        assert!(out.out() == "7\n" || out.code() == 125, "{out:?}");
    }
    Ok(())
}

fn hostile_working_directory(e: &Env) -> Done {
    // CVE-2024-21626 by image: the descriptor that the runtime still holds as working directory.
    for fd in 3..20 {
        let mut image = simple();
        let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
        config["config"]["WorkingDir"] = format!("/proc/self/fd/{fd}").into();
        image.config = config.to_string().into_bytes();
        image.remake(|_| ());
        let evil = Evil::honest(image);
        let own = e.with_own_store();
        own.cmd(["pull", "-q", &evil.name()]).ok();
        let script = format!("cat {}etc/os-release", "../".repeat(40));
        let out = own
            .run_name(&[], &evil.name(), &["sh", "-c", &script])
            .run();
        assert!(
            !out.out().contains("VERSION"),
            "out of the container: {out:?}"
        );
    }
    Ok(())
}
