#!/usr/bin/env python3
"""check_layout.py DIR: is DIR an OCI image layout with whole images in it?

Written from the specification alone (image-spec 1.1: image-layout.md, image-index.md, manifest.md, descriptor.md,
config.md), and knows nothing of the tool under test. Every descriptor is followed; sizes and digests are those of
the bytes; diff_ids are those of the layers' tars; nothing is there that nobody names. Prints one line an image:
the digest of its manifest and of its configuration.
"""

import gzip
import hashlib
import json
import os
import re
import stat
import subprocess
import sys

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Layout:
    def __init__(self, top):
        self.top, self.seen = top, {"oci-layout", "index.json"}
        assert json.loads(self.file("oci-layout"))["imageLayoutVersion"] == "1.0.0"
        index = json.loads(self.file("index.json"))
        assert index["schemaVersion"] == 2 and index.get("mediaType", INDEX) == INDEX, index
        for entry in index["manifests"]:
            self.document(entry)
        self.nothing_else()

    def file(self, name):
        path = os.path.join(self.top, name)
        assert stat.S_ISREG(os.lstat(path).st_mode), path
        with open(path, "rb") as f:
            return f.read()

    def blob(self, descriptor):
        algorithm, _, encoded = descriptor["digest"].partition(":")
        assert algorithm == "sha256" and re.fullmatch("[0-9a-f]{64}", encoded), descriptor
        name = f"blobs/sha256/{encoded}"
        data = self.file(name)
        assert len(data) == descriptor["size"], descriptor
        assert hashlib.sha256(data).hexdigest() == encoded, descriptor
        self.seen.add(name)
        return data

    def document(self, descriptor):
        document = json.loads(self.blob(descriptor))
        kind = descriptor["mediaType"]
        assert document["schemaVersion"] == 2 and document.get("mediaType", kind) == kind, document
        if kind == INDEX:
            for entry in document["manifests"]:
                self.document(entry)
            return
        assert kind == MANIFEST, kind
        config = document["config"]
        assert config["mediaType"] == CONFIG, config
        image = json.loads(self.blob(config))
        assert image["os"] and image["architecture"] and image["rootfs"]["type"] == "layers", image
        diff_ids = []
        for layer in document["layers"]:
            data = self.blob(layer)
            if layer["mediaType"] == LAYER + "+gzip":
                data = gzip.decompress(data)
            elif layer["mediaType"] == LAYER + "+zstd":
                data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
            else:
                assert layer["mediaType"] == LAYER, layer
            diff_ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        assert diff_ids == image["rootfs"]["diff_ids"], (diff_ids, image["rootfs"])
        steps = [h for h in image.get("history", []) if not h.get("empty_layer")]
        assert not steps or len(steps) == len(diff_ids), image["history"]
        print(descriptor["digest"], config["digest"])

    def nothing_else(self):
        for at, dirs, files in os.walk(self.top):
            for name in files:
                name = os.path.relpath(os.path.join(at, name), self.top)
                # Docker's description of the same images, which its archives have beside the layout.
                assert name in self.seen or name == "manifest.json", f"nobody names {name}"
            assert not any(os.path.islink(os.path.join(at, d)) for d in dirs)


Layout(sys.argv[1])
