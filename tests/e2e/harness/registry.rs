//! Registries of one test's own: docker-registry on the images of the suite's registry, with other settings.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::{Cmd, Env, closed_port, wait_until};

/// Name and password of the one user whom a registry with a login knows.
pub const USER: (&str, &str) = ("me", "s3cret");
/// bcrypt of it.
const HTPASSWD: &str = "me:$2y$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG\n";

/// A running registry; ends when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`
    pub name: String,
}

impl Registry {
    /// One that wants the login of [`USER`].
    pub fn with_login(e: &Env) -> Self {
        let htpasswd = e.file("htpasswd", HTPASSWD);
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
            htpasswd.display()
        );
        Self::start(e, "", &auth)
    }

    /// One that speaks HTTPS with a certificate of an authority of its own, `ca.pem` in the test's directory.
    pub fn with_tls(e: &Env) -> Self {
        let script = "
            key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
            printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > ext
            openssl req -x509 $key -keyout ca.key -out ca.pem -subj /CN=ca -days 2 &&
            openssl req $key -keyout leaf.key -out leaf.csr -subj /CN=leaf &&
            openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 -extfile ext &&
            chmod a+r *.pem *.key";
        Cmd::host(["sh", "-c", script]).cwd(&e.dir).ok();
        let tls = format!(
            ", tls: {{certificate: '{0}/leaf.pem', key: '{0}/leaf.key'}}",
            e.dir.display()
        );
        Self::start(e, &tls, "")
    }

    /// `http`: more settings below that key (`, KEY: VALUE`); `more`: more lines of the configuration.
    pub fn start(e: &Env, http: &str, more: &str) -> Self {
        for _ in 0..5 {
            let name = format!("127.0.0.1:{}", closed_port().1);
            let text = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp: {{addr: '{name}'{http}}}\n{more}",
                e.machine.dir.join("registry").display(),
            );
            let config = e.file(&format!("{}.yml", name.replace(':', "-")), text);
            let mut argv = e.machine.drop_privileges();
            argv.splice(1..1, ["--pdeathsig".into(), "KILL".into()]);
            let mut child = Command::new(&argv[0])
                .args(&argv[1..])
                .args(["docker-registry", "serve"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut ended = false;
            wait_until("the registry answers", || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(&name).is_ok()
            });
            if !ended {
                return Self { child, name };
            }
        }
        panic!("the registry does not start");
    }

    /// The name of a test image here.
    pub fn image(&self, e: &Env, image: &str) -> String {
        e.machine.pushed(image);
        format!("{}/{image}:latest", self.name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
