//! The first program of a container: what it finds, and what a start does not wait for.

use crate::commit::kept;
use crate::harness::{Done, Env, Feature};

suite!(
    closed_descriptors_are_the_null_device,
    one_that_ends_at_once_ends_well,
    set_id_bits_of_the_first_program_count,
    what_goes_with_its_container_is_not_forced_to_disk,
);

/// Else the next file that is opened would be its standard output.
fn closed_descriptors_are_the_null_device(e: &Env) -> Done {
    let image = e.image("busybox");
    let script = "exec 3>&1; readlink /proc/$$/fd/3 >&2";
    let run = "image=$1; shift; exec coracle run --rm --network=none -i \"$image\" \"$@\" <&- >&-";
    e.user(["/bin/sh", "-c", run, "sh", &image, "sh", "-c", script])
        .ok()
        .err_is("/dev/null\n");
    Ok(())
}

/// Its supervisor may not have joined it by then.
fn one_that_ends_at_once_ends_well(e: &Env) -> Done {
    for _ in 0..30 {
        e.run(&[], "busybox", &["/bin/true"]).code_is(0).err_is("");
        e.run(&[], "busybox", &["/bin/false"]).code_is(1).err_is("");
    }
    Ok(())
}

/// The supervisor is not asked about the first program, unless it makes somebody of its caller.
fn set_id_bits_of_the_first_program_count(e: &Env) -> Done {
    e.coracle_only("made for the emulation")?;
    let own = e.with_own_store();
    let image = own.image("debian");
    let make = "cp /usr/bin/id /id; chown 1234 /id; chmod 4755 /id";
    kept(&own, "c", &[], &image, make);
    own.cmd(["commit", "-q", "c", "localhost/set-id"]).ok();
    let who = |flags: &[&str]| {
        own.run_name(flags, "localhost/set-id", &["/id", "-u"])
            .ok()
            .out()
    };
    assert_eq!(who(&[]), "1234\n", "of root");
    assert_eq!(who(&["--user=33"]), "1234\n", "of somebody else");
    assert_eq!(
        who(&["--security-opt=no-new-privileges"]),
        "0\n",
        "forbidden"
    );
    Ok(())
}

/// The end of an overlay otherwise waits for all that anybody has written to the disk.
fn what_goes_with_its_container_is_not_forced_to_disk(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    let own = e.with_own_store();
    let root = "grep -o ' / / .*' /proc/self/mountinfo | grep -c volatile";
    // Twice: the mark of the first must not be in the way of the second.
    for _ in 0..2 {
        let out = own.run(
            &["--storage-driver=overlay"],
            "busybox",
            &["sh", "-c", root],
        );
        assert_eq!(out.out(), "1\n");
    }
    let image = own.image("busybox");
    let keep = own.cmd([
        "run",
        "--network=none",
        "--storage-driver=overlay",
        &image,
        "sh",
        "-c",
        root,
    ]);
    assert_eq!(keep.run().out(), "0\n", "of a container that stays");
    Ok(())
}
