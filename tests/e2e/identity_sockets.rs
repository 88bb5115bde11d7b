//! What processes say of themselves over unix sockets. unix(7).

use crate::harness::{Done, Env};

suite!(a_sender_may_say_who_it_is);

fn a_sender_may_say_who_it_is(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import array, os, socket, struct
there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
here.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
def claim(uid, gid, pid=None, rights=()):
    more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', rights))] if rights else []
    cred = struct.pack('iII', pid or os.getpid(), uid, gid)
    try: there.sendmsg([b'x'], more + [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, cred)])
    except OSError as e: return print(uid, gid, e.errno, flush=True)
    data, control, _, _ = here.recvmsg(9, 256)
    got = {kind: data for _, kind, data in control}
    said = struct.unpack('iII', got[socket.SCM_CREDENTIALS])[0] == (pid or os.getpid())
    print(uid, gid, data.decode(), said, socket.SCM_RIGHTS in got, flush=True)
claim(0, 0); claim(33, 34); claim(7, 7, rights=[1])
os.setgroups([]); os.setresgid(33, 34, 34); os.setresuid(33, 34, 35)
claim(33, 33); claim(35, 34, rights=[1]); claim(0, 33); claim(33, 0); claim(36, 36)
there.sendmsg([b'plain']); print(here.recv(9).decode())",
    );
    let want = "0 0 x True False\n33 34 x True False\n7 7 x True True\n\
        33 33 x True False\n35 34 x True True\n0 33 1\n33 0 1\n36 36 1\nplain\n";
    assert_eq!(out, want);
    Ok(())
}
