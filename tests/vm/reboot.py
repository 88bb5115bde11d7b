"""Containers whose machine went down, once without a word and once in good order. The checks are one story."""

import time

from checks import IMAGE, POLITE, eventually

SECONDS = 90

NAMES = ("always", "stopped", "unless", "other", "ended")
DEAF = "sleep 1000"  # the kernel keeps SIGTERM from process 1 of a container


def _states(own):
    lines = own.ok("coracle ps -a --format '{{.Names}} {{.State}}'").splitlines()
    states = dict(line.split() for line in lines)
    return [states.get(name) for name in NAMES]


def containers_run_and_the_power_fails(bed):
    with bed.login("nomanager") as own:
        bed.store(own)
        for name, options, program in (("always", "--restart always", POLITE), ("stopped", "--restart unless-stopped", DEAF),
                                       ("unless", "--restart unless-stopped", DEAF), ("other", "", DEAF)):
            own.ok(f"coracle run -d --name {name} {options} {IMAGE} {program}")
        own.ok("coracle stop -t 0 stopped")
        own.run(f"coracle run --name ended {IMAGE} sh -c 'exit 5'").expect_code(5)
        own.ok("coracle exec always sh -c 'echo mine >/mine'; sync")
        assert _states(own) == ["running", "exited", "running", "running", "exited"], _states(own)
    bed.reboot(orderly=False)


def none_of_them_is_said_to_run(bed):
    with bed.login("nomanager") as own:
        own.run("coracle ps -q").ok().prints_only("")
        assert _states(own) == ["exited"] * 5, _states(own)
        # Nobody saw the end of one, everybody that of the other.
        own.run("coracle wait other; coracle wait ended").ok().prints_only("-1\n5\n")
        own.run("coracle ps -a --filter name=other --format '{{.Status}}'").ok().prints("Exited (unknown)")
        own.run("coracle exec other true").fails(125, "not running")


def nor_where_others_have_their_numbers(bed):
    with bed.login("nomanager") as own:
        # As if the numbers of the dead had been given out again, to processes of the same user.
        own.ok("""sleep 300 >/dev/null 2>&1 & cd ~/.local/share/coracle/containers
            for state in */state.json; do sed -i "s/\\"pid\\":[0-9]*/\\"pid\\":$!/; s/\\"monitor\\":[0-9]*/\\"monitor\\":$!/" $state; done
            grep -q "\\"monitor\\":$!" */state.json""")
        own.run("coracle ps -q").ok().prints_only("")
        assert _states(own) == ["exited"] * 5, _states(own)
        own.run("coracle stop other; coracle kill other; coracle rm -f ended")
        own.run("pgrep -u nomanager -x sleep").ok()


def start_all_brings_back_what_should_run(bed):
    with bed.login("nomanager") as own:
        own.ok("coracle start --all")
        eventually("they run", lambda: _states(own) == ["running", "exited", "running", "exited", None])
        own.run("coracle exec always cat /mine").ok().prints_only("mine\n")


def they_do_not_keep_an_orderly_shutdown_waiting(bed):
    begin = time.monotonic()
    bed.reboot()
    # systemd kills after 90 seconds what does not end by itself.
    assert time.monotonic() - begin < 75
    with bed.login("nomanager") as own:
        assert _states(own) == ["exited", "exited", "exited", "exited", None], _states(own)
        # Their ends were seen.
        own.run("coracle wait always; coracle wait unless").ok().prints_only("0\n137\n")


def and_come_back_after_it(bed):
    with bed.login("nomanager") as own:
        own.ok("coracle start --all")
        eventually("they run", lambda: _states(own) == ["running", "exited", "running", "exited", None])
        own.ok("coracle rm -fa -t 0")
        own.run("coracle ps -aq").ok().prints_only("")
