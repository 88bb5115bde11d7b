//! Signature policies: what is signed as it must be comes in, and nothing else. Keys and signatures are made
//! by openssl, and stored as cosign's specification says.

use std::path::{Path, PathBuf};

use coracle::oci::Digest;
use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Feature, Registry};

suite!(
    what_is_signed_comes_in,
    a_signature_must_fit,
    other_kinds_of_keys,
    the_policy_of_the_user_counts,
    archives_have_no_signatures,
    what_we_sign_is_signed,
    a_sealed_key_wants_its_passphrase,
);

/// A pair of keys, `NAME.key` and `NAME.pub`.
struct Key {
    private: PathBuf,
    public: PathBuf,
}

fn openssl(args: &[&str], files: &[(&str, &Path)]) {
    let mut cmd = Cmd::host(["openssl"]).args(args);
    for (flag, file) in files {
        cmd = cmd.arg(flag).arg(file);
    }
    cmd.ok();
}

fn make_key(e: &Env, name: &str, how: &[&str]) -> Key {
    let at = |kind: &str| e.dir.join(format!("{name}.{kind}"));
    let key = Key {
        private: at("key"),
        public: at("pub"),
    };
    let make: Vec<&str> = ["genpkey"].iter().chain(how).copied().collect();
    openssl(&make, &[("-out", &key.private)]);
    let files = [("-in", &*key.private), ("-out", &*key.public)];
    openssl(&["pkey", "-pubout"], &files);
    e.give(&key.public);
    key
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// What a signature says.
struct Said {
    manifest: String,
    name: String,
    kind: &'static str,
}

impl Key {
    fn sign(&self, e: &Env, payload: &[u8], raw: bool) -> Vec<u8> {
        let (text, out) = (e.file("payload", payload), e.dir.join("signature"));
        match raw {
            // Ed25519 hashes by itself.
            true => {
                let files = [("-inkey", &*self.private), ("-in", &*text), ("-out", &*out)];
                openssl(&["pkeyutl", "-sign", "-rawin"], &files);
            }
            false => {
                let files = [("-sign", &*self.private), ("-out", &*out)];
                let mut cmd = Cmd::host(["openssl", "dgst", "-sha256"]);
                for (flag, file) in files {
                    cmd = cmd.arg(flag).arg(file);
                }
                cmd.arg(&text).ok();
            }
        }
        std::fs::read(out).unwrap()
    }
}

/// An image of a registry and what may be stored about it.
struct Signed<'a> {
    e: &'a Env,
    own: Env,
    registry: &'a Registry,
    /// `127.0.0.1:PORT/signed/TEST`
    repository: String,
    manifest: String,
}

impl<'a> Signed<'a> {
    fn new(e: &'a Env, registry: &'a Registry, name: &str) -> Self {
        let repository = format!("{}/signed/{name}", registry.name);
        let layout = format!("oci:{}:latest", e.layout("busybox").display());
        copy(&layout, &format!("docker://{repository}:1"));
        let index = std::fs::read(e.layout("busybox").join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        Self {
            e,
            own: e.with_own_store(),
            registry,
            repository,
            manifest: index["manifests"][0]["digest"].as_str().unwrap().to_owned(),
        }
    }

    fn name(&self) -> String {
        format!("{}:1", self.repository)
    }

    /// That this is the image of its name.
    fn right(&self) -> Said {
        Said {
            manifest: self.manifest.clone(),
            name: self.name(),
            kind: "cosign container image signature",
        }
    }

    /// Store signatures, in place of those that were there.
    fn store(&self, all: &[(Vec<u8>, Vec<u8>)]) {
        use base64::Engine as _;
        let dir = self.e.dir.join("signatures");
        let _ = std::fs::remove_dir_all(&dir);
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
            json!({ "digest": digest, "size": bytes.len() })
        };
        let mut layers = Vec::new();
        for (payload, signature) in all {
            let mut layer = put(payload);
            layer["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
            let text = base64::engine::general_purpose::STANDARD.encode(signature);
            layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": text });
            layers.push(layer);
        }
        let mut config = put(b"{\"architecture\":\"\",\"os\":\"\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}");
        config["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let mut entry = put(manifest.to_string().as_bytes());
        entry["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "s" });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] });
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let tag = self.manifest.replace(':', "-");
        copy(
            &format!("oci:{}:s", dir.display()),
            &format!("docker://{}:{tag}.sig", self.repository),
        );
    }

    fn sign(&self, key: &Key, said: &Said) -> (Vec<u8>, Vec<u8>) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": said.name },
                "image": { "docker-manifest-digest": said.manifest },
                "type": said.kind,
            },
            "optional": { "creator": "a test" },
        });
        let payload = payload.to_string().into_bytes();
        let signature = key.sign(self.e, &payload, false);
        (payload, signature)
    }

    fn pull(&self, policy: &Path) -> Cmd {
        let pull = self.own.cmd(["pull", "-q", "--signature-policy"]);
        pull.arg(policy).arg(self.name())
    }

    fn policy(&self, key: &Key, identity: &str) -> PathBuf {
        let requirement = json!({
            "type": "sigstoreSigned",
            "keyPath": key.public,
            "signedIdentity": { "type": identity },
        });
        let scope = format!("{}/signed", self.registry.name);
        let policy = json!({
            "default": [{ "type": "reject" }],
            "transports": { "docker": { scope: [requirement] } },
        });
        self.e.file("policy.json", policy.to_string())
    }
}

fn copy(from: &str, to: &str) {
    Cmd::host([
        "skopeo",
        "copy",
        "-q",
        "--insecure-policy",
        "--dest-tls-verify=false",
    ])
    .arg(from)
    .arg(to)
    .ok();
}

fn needs(e: &Env) -> Done {
    e.need(Feature::Program("openssl"))?;
    e.need(Feature::Program("skopeo"))
}

fn what_is_signed_comes_in(e: &Env) -> Done {
    needs(e)?;
    let registry = Registry::start(e, "", "");
    let image = Signed::new(e, &registry, "in");
    let key = make_key(e, "own", P256);
    let policy = image.policy(&key, "matchExact");
    image
        .pull(&policy)
        .run()
        .fails_with(125, &format!("there is no signature of {}", image.manifest));
    let good = image.sign(&key, &image.right());
    image.store(std::slice::from_ref(&good));
    image.pull(&policy).ok();
    let verify = |key: &Key| {
        let cmd = image.own.cmd(["verify", "--exact", "--key"]);
        cmd.arg(&key.public).arg(image.name()).run()
    };
    let json: Value = serde_json::from_str(&verify(&key).code_is(0).out()).unwrap();
    assert_eq!(json[0]["optional"]["creator"], "a test");
    // Also behind others that are not.
    let other = make_key(e, "other", P256);
    verify(&other).fails_with(1, "made with another key");
    image.store(&[image.sign(&other, &image.right()), good]);
    image.pull(&policy).ok();
    // What the policy says nothing good of does not come in, and nothing of it is left.
    let before = image.own.cmd(["images"]).ok().out();
    let pull = image.own.cmd(["pull", "-q", "--signature-policy"]);
    pull.arg(&policy)
        .arg(registry.image(e, "busybox"))
        .run()
        .fails_with(125, "the signature policy refuses");
    assert_eq!(image.own.cmd(["images"]).ok().out(), before);
    Ok(())
}

fn a_signature_must_fit(e: &Env) -> Done {
    needs(e)?;
    let registry = Registry::start(e, "", "");
    let image = Signed::new(e, &registry, "fit");
    let key = make_key(e, "own", P256);
    let policy = image.policy(&key, "matchRepoDigestOrExact");
    let stranger = make_key(e, "stranger", P256);
    let (payload, signature) = image.sign(&key, &image.right());
    let changed = String::from_utf8(payload.clone())
        .unwrap()
        .replace("a test", "another");
    let other_digest = Digest::of(b"another image").to_string();
    let said = |manifest: &str, name: &str, kind| Said {
        manifest: manifest.to_owned(),
        name: name.to_owned(),
        kind,
    };
    let kind = image.right().kind;
    let by = |said: &Said| image.sign(&key, said);
    let other_name = format!("{}:2", image.repository);
    for (stored, want) in [
        (
            image.sign(&stranger, &image.right()),
            "made with another key",
        ),
        ((changed.into_bytes(), signature), "made with another key"),
        (
            (payload.clone(), b"nonsense".to_vec()),
            "made with another key",
        ),
        (
            by(&said(&other_digest, &image.name(), kind)),
            other_digest.as_str(),
        ),
        (
            by(&said(&image.manifest, &other_name, kind)),
            "is for the name",
        ),
        (
            by(&said(&image.manifest, &image.repository, kind)),
            "is for the name",
        ),
        (
            by(&said(
                &image.manifest,
                &image.name(),
                "atomic container signature",
            )),
            "no container image",
        ),
    ] {
        image.store(&[stored]);
        image.pull(&policy).run().fails_with(125, want);
    }
    let (payload, _) = image.sign(&key, &image.right());
    image.store(&[(payload, Vec::new())]);
    image
        .pull(&policy)
        .run()
        .fails_with(125, "made with another key");
    // cosign's own signatures name no tag.
    image.store(&[by(&said(&image.manifest, &image.repository, kind))]);
    image.pull(&image.policy(&key, "matchRepository")).ok();
    Ok(())
}

fn other_kinds_of_keys(e: &Env) -> Done {
    needs(e)?;
    let registry = Registry::start(e, "", "");
    let image = Signed::new(e, &registry, "kinds");
    for (name, how) in [
        ("ed", &["-algorithm", "ED25519"][..]),
        (
            "rsa",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        ),
    ] {
        let key = make_key(e, name, how);
        let (payload, _) = image.sign(&make_key(e, "any", P256), &image.right());
        let signature = key.sign(e, &payload, name == "ed");
        image.store(&[(payload, signature)]);
        image.pull(&image.policy(&key, "matchExact")).ok();
    }
    let text = e.file("no.pub", "not a key");
    let policy = image.policy(
        &Key {
            private: text.clone(),
            public: text,
        },
        "matchExact",
    );
    image
        .pull(&policy)
        .run()
        .fails_with(125, "is not a public key");
    Ok(())
}

fn the_policy_of_the_user_counts(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.machine.pushed("busybox");
    let dir = e.home.join(".config/containers");
    std::fs::create_dir_all(&dir).unwrap();
    let write = |text: &str| std::fs::write(dir.join("policy.json"), text).unwrap();
    write(r#"{"default": [{"type": "reject"}]}"#);
    e.give(&e.home.join(".config"));
    let pull = || own.cmd(["pull", "-q", &image]).run();
    pull().fails_with(125, "the signature policy refuses");
    let run = own.cmd(["run", "--rm", "--network=none", &image, "true"]);
    run.run().fails_with(125, "the signature policy refuses");
    write(r#"{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]}"#);
    pull().fails_with(125, "a GPG signature");
    write(r#"{"default": [{"type": "rejekt"}]}"#);
    pull().fails_with(125, "policy.json");
    write(r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    pull().code_is(0);
    own.cmd(["pull", "-q", "--signature-policy", "/no/such/file", &image])
        .run()
        .fails_with(125, "/no/such/file");
    Ok(())
}

fn archives_have_no_signatures(e: &Env) -> Done {
    let own = e.with_own_store();
    let layout = e.layout("busybox");
    let parent = layout.parent().unwrap();
    let policy = json!({
        "default": [{ "type": "sigstoreSigned", "keyPath": "/k" }],
        "transports": { "oci": { parent.to_str().unwrap(): [{ "type": "insecureAcceptAnything" }] } },
    });
    let policy = e.file("policy.json", policy.to_string());
    let load = |policy: &Path, from: &Path| {
        let cmd = own.cmd(["load", "-q", "--signature-policy"]);
        cmd.arg(policy).arg("-i").arg(from).run()
    };
    load(&policy, &layout).code_is(0);
    let archive = e.dir.join("a.tar");
    let id = own.cmd(["images", "-q"]).ok().out();
    own.cmd(["save", "-o"]).arg(&archive).arg(id.trim()).ok();
    load(&policy, &archive).fails_with(125, "must be signed, and there is no signature");
    Ok(())
}

fn what_we_sign_is_signed(e: &Env) -> Done {
    needs(e)?;
    let registry = Registry::start(e, "", "");
    let image = Signed::new(e, &registry, "ours");
    for (name, how) in [
        ("p256", P256),
        ("ed", &["-algorithm", "ED25519"]),
        (
            "rsa",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        ),
    ] {
        let key = make_key(e, name, how);
        e.give(&key.private);
        let verify = || {
            let cmd = image.own.cmd(["verify", "--exact", "--key"]);
            cmd.arg(&key.public).arg(image.name()).run()
        };
        verify().code_is(1);
        let sign = image.own.cmd(["sign", "--key"]);
        let signed = sign.arg(&key.private).arg(image.name()).ok();
        signed.out_is(&format!("{}\n", image.manifest));
        verify().code_is(0);
        image.pull(&image.policy(&key, "matchExact")).ok();
    }
    // Those before are there still.
    let tag = image.manifest.replace(':', "-");
    let tags = image.own.cmd(["tags", &image.repository]).ok().out();
    assert!(tags.contains(&format!("{tag}.sig")), "{tags}");
    let first = Key {
        private: e.dir.join("p256.key"),
        public: e.dir.join("p256.pub"),
    };
    image.pull(&image.policy(&first, "matchExact")).ok();
    let cmd = image.own.cmd(["sign", "--key"]);
    cmd.arg(&first.public)
        .arg(image.name())
        .run()
        .fails_with(125, "is not a private key");
    // An index, with what is in it.
    let index = registry.image(e, "multi");
    let cmd = image.own.cmd(["sign", "--recursive", "--key"]);
    let signed = cmd.arg(&first.private).arg(&index).ok().out();
    assert!(signed.lines().count() > 2, "{signed}");
    let cmd = image.own.cmd(["verify", "--key"]);
    cmd.arg(&first.public).arg(&index).ok();
    Ok(())
}

fn a_sealed_key_wants_its_passphrase(e: &Env) -> Done {
    needs(e)?;
    let registry = Registry::start(e, "", "");
    let image = Signed::new(e, &registry, "sealed");
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let copy = |name: &str| e.file(name, std::fs::read(keys.join(name)).unwrap());
    let (private, public) = (copy("sealed.key"), copy("sealed.pub"));
    let sign = || {
        image
            .own
            .cmd(["sign", "--key"])
            .arg(&private)
            .arg(image.name())
    };
    sign().run().fails_with(125, "--passphrase-file");
    sign()
        .env("COSIGN_PASSWORD", "wrong")
        .run()
        .fails_with(125, "the passphrase is wrong");
    sign().env("COSIGN_PASSWORD", "pass").ok();
    let word = e.file("word", "pass\n");
    sign().arg("--passphrase-file").arg(word).ok();
    let verify = image.own.cmd(["verify", "--exact", "--key"]).arg(public);
    let list: Value = serde_json::from_str(&verify.arg(image.name()).ok().out()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2);
    Ok(())
}
