"""OCI images: equal input gives equal digests, and a layout holds what it names."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from pyswarm.errors import InvalidArgument
from pyswarm.lab.images import (
    digest,
    files_layer,
    filesystem_layer,
    push,
    split_reference,
    write_layout,
)


def members(packed: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as reader:
        return {member.name: member for member in reader}


def test_equal_files_give_equal_layers() -> None:
    files = {"b": (b"2", 0o644), "a": (b"1", 0o755)}
    assert files_layer(files) == files_layer(dict(reversed(files.items())))


def test_a_layer_holds_files_links_and_directories() -> None:
    layer = files_layer({"bin/x": (b"x", 0o755)}, {"bin/y": "x"}, ["tmp"])
    found = members(layer.packed)
    assert found["bin/x"].mode == 0o755
    assert found["bin/y"].linkname == "x"
    assert found["tmp"].mode == 0o1777
    assert layer.diff_id == digest(gzip.decompress(layer.packed))


def test_a_file_system_loses_its_manuals_and_device_nodes(tmp_path: Path) -> None:
    source = tmp_path / "root.tar"
    with tarfile.open(source, "w") as writer:
        for name in ("./", "./bin/sh", "./dev/null", "./usr/share/doc/x", "./usr/share/docs"):
            writer.addfile(tarfile.TarInfo(name))
    assert sorted(members(filesystem_layer(source).packed)) == ["bin/sh", "usr/share/docs"]


def test_every_blob_of_a_layout_bears_its_digest(tmp_path: Path) -> None:
    named = write_layout(tmp_path / "image", [files_layer({"a": (b"1", 0o644)})], {"Cmd": ["a"]})
    blobs = list((tmp_path / "image" / "blobs" / "sha256").iterdir())
    assert len(blobs) == 3
    assert all(digest(blob.read_bytes()) == f"sha256:{blob.name}" for blob in blobs)
    index = json.loads((tmp_path / "image" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == named


def test_a_reference_without_a_tag_is_the_latest() -> None:
    assert split_reference("shop-web") == ("shop-web", "latest")
    assert split_reference("a/b:1") == ("a/b", "1")
    with pytest.raises(InvalidArgument):
        split_reference("registry:5000/a")


def test_a_directory_that_is_no_layout_is_refused_before_the_network(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not an OCI image layout"):
        push(tmp_path, "a:1", address="192.0.2.1", port=1)
