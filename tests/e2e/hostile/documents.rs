//! Layers, manifests and configurations that are not what they are said to be.

use super::{GZIP, broken_off, nothing_left, refused, simple};
use crate::harness::{Done, Env, Evil, Image, Reply, Tar, Then, digest, gzip};

suite!(
    wrong_layer_digest,
    wrong_layer_size,
    wrong_diff_id,
    wrong_manifest_digest,
    truncated_layer,
    truncated_gzip,
    garbage_after_the_archive,
    wrong_media_type,
    layer_of_another_media_type,
    config_that_is_none,
    manifest_that_is_none,
    huge_manifest,
    endless_manifest,
    huge_config,
);

fn wrong_layer_digest(e: &Env) -> Done {
    let image = simple();
    let other = gzip(&Tar::busybox().file("evil", "x").end());
    let wanted = digest(&image.layers[0].1);
    let size = image.layers[0].1.len();
    let evil = Evil::image(image, move |path, reply| {
        if !path.ends_with(&wanted) {
            return reply;
        }
        // Of the right size, too.
        let mut body = other.clone();
        body.resize(size, 0);
        Reply::new(200, body)
    });
    refused(e, &evil, "digest");
    Ok(())
}

fn wrong_layer_size(e: &Env) -> Done {
    for wrong in [1_u64, 100, u64::from(u32::MAX), i64::MAX as u64] {
        let mut image = simple();
        image.remake(|m| m["layers"][0]["size"] = wrong.into());
        broken_off(e, &Evil::honest(image));
    }
    let mut image = simple();
    image.remake(|m| m["layers"][0]["size"] = (-5).into());
    broken_off(e, &Evil::honest(image));
    Ok(())
}

fn wrong_diff_id(e: &Env) -> Done {
    let mut image = simple();
    let text = String::from_utf8(image.config.clone()).unwrap();
    image.config = text
        .replace(&image.layers[0].2, &format!("sha256:{}", "1".repeat(64)))
        .into_bytes();
    image.remake(|_| ());
    refused(e, &Evil::honest(image), "unpacks to");
    Ok(())
}

fn wrong_manifest_digest(e: &Env) -> Done {
    let evil = Evil::honest(simple());
    let name = format!("{}/evil/image@sha256:{}", evil.address, "2".repeat(64));
    let own = e.with_own_store();
    own.cmd(["pull", &name]).run().fails_with(125, "digest");
    nothing_left(&own);
    Ok(())
}

fn truncated_layer(e: &Env) -> Done {
    let image = simple();
    let wanted = digest(&image.layers[0].1);
    let evil = Evil::image(image, move |path, reply| {
        if path.ends_with(&wanted) {
            reply.cut(5000, Then::Close)
        } else {
            reply
        }
    });
    broken_off(e, &evil);
    Ok(())
}

fn truncated_gzip(e: &Env) -> Done {
    // The digest is right: it is the stream itself that ends early.
    let tar = Tar::busybox().end();
    let mut data = gzip(&tar);
    data.truncate(data.len() / 2);
    let layer = (GZIP.to_owned(), data, digest(&tar));
    refused(e, &Evil::honest(Image::of(vec![layer])), "");
    // And a tar that ends in the middle of a file.
    let tar = tar[..tar.len() / 2].to_vec();
    let layer = (GZIP.to_owned(), gzip(&tar), digest(&tar));
    refused(e, &Evil::honest(Image::of(vec![layer])), "");
    Ok(())
}

fn garbage_after_the_archive(e: &Env) -> Done {
    let tar = Tar::busybox().end();
    let mut data = gzip(&tar);
    data.extend_from_slice(b"garbage after the gzip stream");
    let layer = (GZIP.to_owned(), data, digest(&tar));
    let evil = Evil::honest(Image::of(vec![layer]));
    let own = e.with_own_store();
    let out = own.cmd(["pull", "-q", &evil.name()]).run();
    // gunzip warns and goes on, and so may we; but it must not be taken for content.
    assert!([0, 125].contains(&out.code()), "{out:?}");
    Ok(())
}

fn wrong_media_type(e: &Env) -> Done {
    for media_type in [
        "text/html",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.image.config.v1+json",
    ] {
        let mut image = simple();
        image.media_type = media_type.to_owned();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn layer_of_another_media_type(e: &Env) -> Done {
    for media_type in [
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.oci.image.layer.v1.tar+bzip2",
        "text/plain",
    ] {
        let mut image = simple();
        image.layers[0].0 = media_type.to_owned();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn config_that_is_none(e: &Env) -> Done {
    for config in [
        "",
        "{",
        "[]",
        "null",
        "{\"rootfs\": 5}",
        "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
    ] {
        let mut image = simple();
        image.config = config.as_bytes().to_vec();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn manifest_that_is_none(e: &Env) -> Done {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for manifest in [
        "",
        "{",
        "<html>not found</html>",
        "{}",
        "{\"schemaVersion\":1}",
        &deep,
        "{\"schemaVersion\":2,\"layers\":[]}",
    ] {
        let mut image = simple();
        image.manifest = manifest.as_bytes().to_vec();
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn huge_manifest(e: &Env) -> Done {
    let mut image = simple();
    image.remake(|m| m["annotations"] = serde_json::json!({"x": "y".repeat(100 << 20)}));
    refused(e, &Evil::honest(image), "manifest");
    Ok(())
}

fn endless_manifest(e: &Env) -> Done {
    // 4 GiB without a true end, sent as fast as it is taken.
    let evil = Evil::new(|path, _| {
        let mut reply = Reply::new(200, vec![b' '; 1 << 20]);
        if path.contains("/manifests/") {
            reply.times = 4096;
        }
        reply.header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    });
    refused(e, &evil, "");
    Ok(())
}

fn huge_config(e: &Env) -> Done {
    let mut image = simple();
    let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
    config["config"]["Labels"] = serde_json::json!({"x": "y".repeat(100 << 20)});
    image.config = config.to_string().into_bytes();
    image.remake(|_| ());
    refused(e, &Evil::honest(image), "");
    Ok(())
}
