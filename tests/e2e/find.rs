//! `tags`, `search`, and `pull --all-tags`.

use crate::harness::{Cmd, Done, Env, Feature, Registry, USER};

suite!(
    tags_of_a_repository,
    all_tags_are_pulled,
    search_in_a_catalog,
    search_by_an_interface_of_version_1,
    names_of_strangers_are_harmless,
    arch_and_os_choose_a_platform,
);

/// `NAME` in the suite's registry, with one more tag.
fn tagged(e: &Env, image: &str, tag: &str) -> String {
    let name = e.machine.pushed(image);
    let repository = name.trim_end_matches(":latest").to_owned();
    Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet", "--all"])
        .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
        .arg(format!("docker://{name}"))
        .arg(format!("docker://{repository}:{tag}"))
        .limit(400)
        .ok();
    repository
}

fn tags_of_a_repository(e: &Env) -> Done {
    let name = tagged(e, "busybox", "one-more");
    e.cmd(["tags", &name])
        .ok()
        .out_is("latest\none-more\n")
        .err_is("");
    e.cmd(["tags", "--limit", "1", &name])
        .ok()
        .out_is("latest\n");
    e.cmd(["search", "--list-tags", &name])
        .ok()
        .out_has("NAME")
        .out_has(&format!("{name}  one-more\n"));
    e.cmd([
        "search",
        "--list-tags",
        "--format",
        "{{.Tag}}",
        "--limit",
        "1",
        &name,
    ])
    .ok()
    .out_is("latest\n");
    e.cmd(["tags", &format!("{name}:latest")])
        .run()
        .fails_with(125, "a repository is wanted");
    e.cmd(["tags", &format!("{}/none", e.machine.registry)])
        .run()
        .fails_with(125, "none");
    // With a login.
    let r = Registry::with_login(e);
    let name = r.image(e, "busybox").replace(":latest", "");
    e.cmd(["tags", &name]).run().fails_with(125, "login");
    e.cmd(["login", "-u", USER.0, "--password-stdin", &r.name])
        .stdin(USER.1)
        .ok();
    e.cmd(["tags", &name]).ok().out_has("latest");
    Ok(())
}

fn all_tags_are_pulled(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = tagged(e, "multi", "another");
    let out = own.cmd(["pull", "-q", "--all-tags", &name]).ok();
    assert_eq!(out.out().lines().count(), 2, "{out:?}");
    let names = own.cmd(["images", "--format", "{{.Tag}}"]).ok().out();
    assert_eq!(names, "another\nlatest\n");
    own.cmd(["pull", "-a", &format!("{name}:latest")])
        .run()
        .fails_with(125, "a repository is wanted");
    Ok(())
}

fn search_in_a_catalog(e: &Env) -> Done {
    e.machine.pushed("busybox");
    let host = &e.machine.registry;
    let row = format!("{host}/busybox ");
    e.cmd(["search", &format!("{host}/usyb")])
        .ok()
        .out_has(&row);
    e.cmd(["search", &format!("{host}/")]).ok().out_has(&row);
    let text = format!("unqualified-search-registries = [\"127.0.0.1:1\", \"{host}\"]");
    let conf = e.file("registries.conf", text);
    e.cmd(["search", "--format", "{{.Name}}", "busybox"])
        .env("CONTAINERS_REGISTRIES_CONF", conf)
        .ok()
        .out_has(&format!("{host}/busybox\n"))
        .err_has("127.0.0.1:1");
    e.cmd([
        "search",
        "--filter",
        "is-official=true",
        &format!("{host}/busybox"),
    ])
    .ok()
    .out_lacks(&row);
    e.cmd(["search", "127.0.0.1:1/x"])
        .run()
        .fails_with(125, "cannot connect");
    for bad in ["--limit=0", "--limit=101", "--filter=colour=red"] {
        e.cmd(["search", bad, "x"]).run().code_is(125);
    }
    Ok(())
}

/// `server.py PORTFILE REPLY`: answers every GET with the file REPLY.
const SERVER: &str = r#"
import http.server, os, sys
class Reply(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open(sys.argv[2], 'rb').read()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Reply)
open(sys.argv[1] + '.part', 'w').write(str(server.server_port))
os.rename(sys.argv[1] + '.part', sys.argv[1])
server.serve_forever()
"#;

/// `cmd` while a registry on `HOST` (replaced in its arguments) gives this reply to everything.
fn answered(e: &Env, reply: &str, args: &str) -> crate::harness::Output {
    let (server, reply) = (e.file("server.py", SERVER), e.file("reply", reply));
    let port = e.dir.join("port");
    let script = format!(
        "python3 {} {port} {} & server=$!
         until [ -e {port} ]; do sleep 0.05; done
         coracle {args}; code=$?; kill $server; exit $code",
        server.display(),
        reply.display(),
        port = port.display(),
        args = args.replace("HOST", &format!("127.0.0.1:$(cat {})", port.display()))
    );
    let _ = std::fs::remove_file(&port);
    e.user(["sh", "-c", &script]).run()
}

fn search_by_an_interface_of_version_1(e: &Env) -> Done {
    e.need(Feature::Program("python3"))?;
    let reply = r#"{"num_results":2,"results":[
        {"name":"web/one","description":"A very long description of something that serves pages to whoever asks, and more","star_count":120,"is_official":true,"is_automated":false},
        {"name":"two","description":"short","star_count":2,"is_official":false,"is_automated":true}]}"#;
    answered(e, reply, "search HOST/web")
        .code_is(0)
        .out_has("/web/one  A very long description of something")
        .out_has("…")
        .out_lacks("and more")
        .out_has("120    [OK]\n");
    answered(e, reply, "search --no-trunc HOST/web")
        .code_is(0)
        .out_has("and more");
    answered(
        e,
        reply,
        "search --filter stars=3 --format '{{.Stars}} {{.Official}}' HOST/web",
    )
    .code_is(0)
    .out_is("120 [OK]\n");
    answered(
        e,
        reply,
        "search --filter is-official=false --format json HOST/web",
    )
    .code_is(0)
    .out_has("\"Description\": \"short\"")
    .out_lacks("web/one");
    Ok(())
}

fn names_of_strangers_are_harmless(e: &Env) -> Done {
    e.need(Feature::Program("python3"))?;
    let hostile = r#"{"tags":["a\u001b[2Jb","../../x","ok"],"results":[{"name":"x\u001b]0;y","description":"\u202e\u0007"}]}"#;
    for args in [
        "tags HOST/x",
        "search --list-tags HOST/x",
        "search HOST/x",
        "search --format '{{.Name}}' HOST/x",
    ] {
        let out = answered(e, hostile, args).code_is(0);
        assert!(
            out.out()
                .chars()
                .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
            "{out:?}"
        );
    }
    answered(e, hostile, "pull --all-tags HOST/x").fails_with(125, "is not a tag");
    Ok(())
}

fn arch_and_os_choose_a_platform(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.machine.pushed("multi");
    own.cmd(["pull", "-q", "--arch", "s390x", &name]).ok();
    own.cmd(["inspect", "--format", "{{.Architecture}}", &name])
        .ok()
        .out_is("s390x\n");
    own.cmd(["pull", "--os", "plan9", &name])
        .run()
        .fails_with(125, "plan9");
    own.cmd(["pull", "--arch", "riscv64", "--variant", "v9", &name])
        .run()
        .fails_with(125, "riscv64/v9");
    own.cmd([
        "pull",
        "--arch",
        "s390x",
        "--platform",
        "linux/s390x",
        &name,
    ])
    .run()
    .code_is(125);
    Ok(())
}
