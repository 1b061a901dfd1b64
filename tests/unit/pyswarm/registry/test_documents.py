"""The JSON of images: what is taken, and what is refused."""

import hashlib
import json
from typing import Any

import pytest

from pyswarm.errors import InvalidArgument
from pyswarm.model import Healthcheck
from pyswarm.registry import documents
from pyswarm.registry.documents import Descriptor

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


def described(digest: str = DIGEST, size: Any = 7, kind: str = LAYER) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest, "size": size}


def manifest(**changes: Any) -> bytes:
    config = described(kind="application/vnd.oci.image.config.v1+json")
    whole = {"schemaVersion": 2, "config": config, "layers": [described(OTHER)]}
    return raw(whole | changes)


def config(**changes: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [DIGEST]}
    return raw({"os": "linux", "architecture": "amd64", "rootfs": rootfs} | changes)


def test_the_manifest_of_our_platform_is_chosen_from_an_index() -> None:
    platforms = [
        ("linux", "arm64", DIGEST),
        ("windows", "amd64", DIGEST),
        ("linux", "amd64", OTHER),
    ]
    entries = [
        described(digest, kind=documents.OCI_MANIFEST)
        | {"platform": {"os": system, "architecture": machine}}
        for system, machine, digest in platforms
    ]
    index = raw({"manifests": entries})
    chosen = documents.platform_manifest("web", index, "amd64")
    assert chosen == Descriptor(media_type=documents.OCI_MANIFEST, digest=OTHER, size=7)
    with pytest.raises(InvalidArgument, match=r"image web is not for linux/riscv64.*linux/arm64"):
        documents.platform_manifest("web", index, "riscv64")


@pytest.mark.parametrize(
    ("document", "sent_as", "expected"),
    [
        ({"mediaType": documents.OCI_MANIFEST}, documents.OCI_INDEX, documents.OCI_MANIFEST),
        ({}, documents.OCI_INDEX, documents.OCI_INDEX),
        ({"manifests": []}, "text/plain", documents.OCI_INDEX),
        ({"layers": []}, "", documents.OCI_MANIFEST),
    ],
)
def test_a_documents_own_word_on_its_kind_goes_first(
    document: dict[str, Any], sent_as: str, expected: str
) -> None:
    assert documents.media_type("web", raw(document), sent_as) == expected


def test_a_manifest_yields_configuration_and_layers() -> None:
    parsed = documents.parse_manifest("web", manifest())
    assert parsed.config.digest == DIGEST
    assert parsed.layers == (Descriptor(media_type=LAYER, digest=OTHER, size=7),)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"\xff", b"[" * 100_000, manifest(schemaVersion=1), manifest(layers={})),
        *(manifest(layers=[described("sha256:../../etc")]), manifest(layers=[described(size=-1)])),
        *(manifest(layers=[described(size=True)]), manifest(layers=[described()] * 501)),
        *(manifest(layers=[described(kind="text/html")]), manifest(config=described(size=1 << 40))),
        manifest(config=None),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_images_name(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="image web is damaged"):
        documents.parse_manifest("web", data)


def test_an_empty_configuration_has_empty_fields() -> None:
    parsed, diff_ids = documents.parse_config("web", config(config=None), "amd64")
    assert parsed == documents.ImageConfig()
    assert diff_ids == (DIGEST,)


def test_a_health_check_counts_in_seconds() -> None:
    check = {"Test": ["CMD", "x"], "Interval": 500_000_000, "Timeout": 10**9, "Retries": 2}
    parsed, _ = documents.parse_config("web", config(config={"Healthcheck": check}), "amd64")
    assert parsed.healthcheck == Healthcheck(
        test=("CMD", "x"), interval_seconds=0.5, timeout_seconds=1.0, retries=2
    )


@pytest.mark.parametrize(
    "data",
    [
        *(b"{", config(architecture="arm64"), config(os="windows"), config(rootfs="x")),
        *(config(rootfs={"diff_ids": ["x"]}), config(config={"Env": "A=b"})),
        *(config(config={"User": 5}), config(config={"Cmd": ["a\0b"]})),
        config(config={"Healthcheck": {"Test": ["CMD"], "Interval": "1s"}}),
    ],
)
def test_a_configuration_that_cannot_run_here_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="image web is"):
        documents.parse_config("web", data, "amd64")


def test_a_chain_names_each_layer_with_all_below_it() -> None:
    # OCI image specification, "Layer ChainID": ChainID(L0|...|Ln) is the digest of
    # ChainID(L0|...|Ln-1) + " " + DiffID(Ln).
    both = f"sha256:{hashlib.sha256(f'{DIGEST} {OTHER}'.encode()).hexdigest()}"
    assert documents.chain_ids([]) == ()
    assert documents.chain_ids([DIGEST, OTHER]) == (DIGEST, both)
