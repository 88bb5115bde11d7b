//! Bundles of the OCI runtime-spec, and the runtime that runs them, as the test user or as root.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Cmd, Env, Output, machine};

/// A bundle with busybox in it, and a state directory of its own.
pub struct Bundle<'a> {
    e: &'a Env,
    pub dir: PathBuf,
    state: PathBuf,
    root: bool,
}

impl<'a> Bundle<'a> {
    /// Of the test user.
    pub fn new(e: &'a Env, name: &str) -> Self {
        Self::make(e, name, false)
    }

    /// Of root, whose commands run in a mount namespace of their own.
    pub fn of_root(e: &'a Env, name: &str) -> Self {
        Self::make(e, name, true)
    }

    fn make(e: &'a Env, name: &str, root: bool) -> Self {
        let bundle = Self {
            e,
            dir: e.subdir(name),
            state: e.dir.join("state"),
            root,
        };
        let layout = machine::layout("busybox");
        let json = |path: PathBuf| -> Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let blob = |digest: &Value| {
            let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
            layout.join("blobs/sha256").join(hex)
        };
        let index = json(layout.join("index.json"));
        let manifest = json(blob(&index["manifests"][0]["digest"]));
        std::fs::create_dir(bundle.dir.join("rootfs")).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            Cmd::host(["tar", "--no-same-owner", "-xf"])
                .arg(blob(&layer["digest"]))
                .arg("-C")
                .arg(bundle.dir.join("rootfs"))
                .ok();
        }
        if !root {
            let owner = format!("{}:{}", e.machine.uid, e.machine.gid);
            Cmd::host(["chown", "-R", &owner]).arg(&bundle.dir).run();
        }
        bundle.configure(|_| {});
        bundle
    }

    /// Write a configuration: that of `spec`, without a terminal, with these changes.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.dir.join("config.json");
        let _ = std::fs::remove_file(&path);
        self.cmd(["spec"]).ok();
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
    }

    /// The same for a shell script.
    pub fn script(&self, script: &str, change: impl FnOnce(&mut Value)) {
        self.configure(|c| {
            c["process"]["args"] = json!(["sh", "-c", script]);
            change(c);
        });
    }

    /// The runtime with these arguments, in the directory of the bundle.
    pub fn cmd<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Cmd {
        let cmd = if self.root {
            let program = self.e.machine.dir.join("bin/coracle-oci");
            Cmd::host([program]).prepared("exec \"$@\"")
        } else {
            self.e.user(["coracle-oci"])
        };
        cmd.arg("--root").arg(&self.state).args(args).cwd(&self.dir)
    }

    /// Run it in the foreground.
    #[track_caller]
    pub fn run(&self) -> Output {
        self.cmd(["run", "c"]).run()
    }

    /// Run it in the foreground, and expect success; returns what it printed.
    #[track_caller]
    pub fn out(&self) -> String {
        self.run().code_is(0).out()
    }

    /// A command whose container outlives it, with the streams of a file: returns its code and what it said.
    #[track_caller]
    pub fn detached<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> (i32, String) {
        let said = self.dir.join("said");
        let script = format!("\"$@\" </dev/null >{0}/out 2>{0}/said", self.dir.display());
        let code = self.around(&script, &self.cmd(args)).run().code();
        (code, std::fs::read_to_string(said).unwrap_or_default())
    }

    /// A shell script of this machine in the directory of the bundle, in which `"$@"` is the command.
    pub fn around(&self, script: &str, cmd: &Cmd) -> Cmd {
        self.e.around(script, cmd).cwd(&self.dir)
    }

    /// What a detached container has printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.dir.join("out")).unwrap_or_default()
    }

    /// The state of a container.
    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        let out = self.cmd(["state", id]).ok();
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    /// Nothing is left of any container.
    #[track_caller]
    pub fn nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(&self.state)
            .map(|d| d.flatten().map(|f| f.file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Bundle<'_> {
    /// A test that fails leaves no container.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.state)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let _ = self.cmd(["delete", "--force"]).arg(name).run();
        }
    }
}
