"""Flags of volumes, secrets and configs, and the listings of volumes and versions."""

from argparse import ArgumentParser

import pytest

from pyswarm.cli.flags.mounts import mount
from pyswarm.cli.pairs import file_reference
from pyswarm.cli.service_flags import add_create_flags, add_update_flags, create_spec, update_spec
from pyswarm.cli.volume_listings import Version, VolumeSeen, versions, volumes
from pyswarm.errors import InvalidArgument
from pyswarm.model import FileReference, Follow, Mount, Volume, VolumeOnNode, VolumeSpec


def create(*flags):
    parser = ArgumentParser()
    add_create_flags(parser)
    args = parser.parse_args(flags)
    args.image, args.command = "nginx", []
    return create_spec(args, "web")


def update(old, *flags):
    parser = ArgumentParser()
    add_update_flags(parser)
    return update_spec(parser.parse_args(flags), old)


def shown(spec):
    return [(r.name, r.target) for r in spec.task.container.secrets]


def test_a_mount_says_how_its_volume_is_made():
    text = (
        "type=volume,source=data,target=/data,volume-driver=local,volume-label=a=b,"
        'volume-opt=type=nfs,volume-opt=device=:/x,"volume-opt=o=addr=store,rw"'
    )
    assert mount(text) == Mount(
        source="data",
        target="/data",
        driver="local",
        labels={"a": "b"},
        driver_options={"type": "nfs", "device": ":/x", "o": "addr=store,rw"},
    )


def test_a_reference_says_how_it_follows_a_rotation():
    text = "source=pw,target=p,uid=1,gid=2,mode=0440,rotation=live,signal=SIGUSR1"
    assert file_reference(text) == FileReference(
        name="pw",
        target="p",
        uid="1",
        gid="2",
        mode=0o440,
        follow=Follow.LIVE,
        signal="SIGUSR1",
    )
    with pytest.raises(InvalidArgument, match="rotation must be update, live or never"):
        file_reference("source=pw,rotation=as-rotated")


def test_one_secret_may_be_shown_in_two_places_and_is_removed_by_its_name():
    spec = create("--secret", "pw", "--secret", "source=pw,target=other", "--secret", "key")
    assert shown(spec) == [("pw", "pw"), ("pw", "other"), ("key", "key")]
    assert shown(update(spec, "--secret-rm", "pw")) == [("key", "key")]
    assert shown(update(spec, "--secret-rm", "none")) == shown(spec), "as in Docker"
    moved = update(spec, "--secret-rm", "pw", "--secret-add", "source=pw,target=here")
    assert shown(moved) == [("key", "key"), ("pw", "here")]


def test_volumes_with_their_nodes():
    nodes = (VolumeOnNode(node_id="n2"), VolumeOnNode(node_id="n1"))
    found = [
        VolumeSeen(volume=Volume(spec=VolumeSpec(name="web-10"), pending_delete=True)),
        VolumeSeen(volume=Volume(spec=VolumeSpec(name="web-2"), nodes=nodes), services=("web",)),
    ]
    listing = volumes(found, {"n1": "one", "n2": "two"})
    assert listing.text() == (
        "DRIVER    VOLUME NAME   NODES\n"
        "local     web-2         one, two\n"
        "local     web-10        (being removed)"
    )
    assert listing.text(quiet=True) == "web-2\nweb-10"
    assert listing.rows[0].values["Services"] == "web"


def test_versions_with_who_uses_them():
    found = [Version(id="b", number=2, created_at=940.0, services=("web", "x"))]
    assert versions(found, 1000.0).rows[0].cells == ("2", "b", "About a minute ago", "web, x")
