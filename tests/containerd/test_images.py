"""Pulls from a real registry into a real containerd."""

import asyncio
import shutil

import pytest

from pyswarm.daemon import interpreter
from pyswarm.errors import InvalidArgument, NotFound, Unavailable
from pyswarm.model import Platform
from pyswarm.registry.client import Access, Registry
from pyswarm.registry.reference import parse
from pyswarm.testing import images
from pyswarm.testing.images import TestImage


def run(node, scenario):
    async def inside():
        async with node.runtime() as runtime:
            await runtime.pull(node.image)
            return await scenario(runtime)

    return interpreter.run(inside())


def test_a_tag_is_pulled_with_its_configuration(node):
    registry = node.stage.registry
    wanted = {
        "Entrypoint": ["/bin/echo"],
        "Cmd": ["hi"],
        "User": "nobody",
        "WorkingDir": "/srv",
        "StopSignal": "SIGUSR1",
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 2_000_000_000},
    }
    digest = images.push(registry, "full:1", TestImage(config=wanted))

    async def scenario(runtime):
        await runtime.pull(f"{registry}/full:1")
        return await runtime.image(f"{registry}/full:1")

    image = run(node, scenario)
    assert image.digest == digest
    config = image.config
    assert (config.entrypoint, config.command) == (("/bin/echo",), ("hi",))
    assert (config.user, config.workdir, config.stop_signal) == ("nobody", "/srv", "SIGUSR1")
    assert config.exposed_ports == ("80/tcp",)
    assert config.healthcheck.interval_seconds == 2.0


def test_without_its_registry_an_image_that_is_here_serves(node):
    registry = node.stage.registry
    digest = images.push(registry, "kept:1", TestImage(files={"kept": "1"}))
    by_digest = f"{registry}/kept@{digest}"

    async def scenario(runtime):
        await runtime.pull(f"{registry}/kept:1")
        await runtime.pull(by_digest)
        node.stage.stop_registry()
        try:
            await runtime.pull(by_digest)
            await runtime.pull(f"{registry}/kept:1")
            with pytest.raises(Unavailable, match=f"the registry {registry} does not answer"):
                await runtime.pull(f"{registry}/other:1")
        finally:
            node.stage.start_registry()
        return await runtime.has_image(by_digest)

    assert run(node, scenario)


def test_the_digest_of_a_tag_is_resolved_without_a_pull(node):
    registry = node.stage.registry
    digest = images.push(registry, "resolve:1", TestImage(files={"resolve": "1"}))
    name = f"{registry}/resolve:1"

    async def scenario(runtime):
        asked = Registry(())
        found, platforms = await asked.resolve(parse(name), Access())
        asked.close()
        assert (found, platforms) == (digest, (Platform(os="linux", architecture="amd64"),))
        return await runtime.has_image(name)

    assert not run(node, scenario)


def test_a_tag_that_moved_is_pulled_anew(node):
    registry = node.stage.registry

    async def scenario(runtime):
        found = []
        for version in ("1", "2"):
            images.push(registry, "moving:1", TestImage(files={"version": version}))
            await runtime.pull(f"{registry}/moving:1")
            found.append((await runtime.image(f"{registry}/moving:1")).chain_id)
        return found

    first, second = run(node, scenario)
    assert first != second


def test_an_image_that_does_not_exist_is_named_in_one_sentence(node):
    registry = node.stage.registry

    async def scenario(runtime):
        with pytest.raises(NotFound) as caught:
            await runtime.pull(f"{registry}/foo:bar")
        assert not caught.value.temporary
        return caught.value.message

    wanted = f"image {registry}/foo:bar does not exist in the registry {registry}"
    assert run(node, scenario) == wanted


def test_an_index_leads_to_the_image_of_this_platform(node):
    registry = node.stage.registry
    ours = images.push(registry, "many:amd", TestImage(files={"which": "amd64"}))
    other = TestImage(files={"which": "s390x"}, architecture="s390x")
    theirs = images.push(registry, "many:s390", other)
    index = images.push_index(registry, "many:1", {"s390x": theirs, "amd64": ours})
    images.push_index(registry, "many:far", {"s390x": theirs})

    async def scenario(runtime):
        await runtime.pull(f"{registry}/many:1")
        with pytest.raises(InvalidArgument, match="is not for linux/amd64"):
            await runtime.pull(f"{registry}/many:far")
        return await runtime.image(f"{registry}/many:1")

    image = run(node, scenario)
    assert image.digest == index
    request = node.request("cat", "/which", image=f"{registry}/many:1")
    assert interpreter.run(node.output(request)) == (0, "amd64")


@pytest.mark.parametrize("packing", ["docker", "plain", "zstd"])
def test_layers_of_every_packing_are_unpacked(node, packing):
    if packing == "zstd" and shutil.which("zstd") is None:
        pytest.skip("the program zstd is not installed")
    registry = node.stage.registry
    name = f"{registry}/packed:{packing}"
    images.push(registry, f"packed:{packing}", TestImage(packing=packing, files={"p": packing}))

    async def scenario(runtime):
        await runtime.pull(name)

    run(node, scenario)
    assert interpreter.run(node.output(node.request("cat", "/p", image=name))) == (0, packing)


def test_an_image_whose_layers_are_not_what_it_says_is_refused(node):
    registry = node.stage.registry
    images.push(registry, "lie:1", TestImage(lie=True))

    async def scenario(runtime):
        with pytest.raises(InvalidArgument, match="is damaged"):
            await runtime.pull(f"{registry}/lie:1")
        return await runtime.has_image(f"{registry}/lie:1")

    assert not run(node, scenario)


def test_ten_pulls_of_one_image_at_once_are_the_first_and_one_for_all_others(node, monkeypatch):
    """The registry is asked after the last of them has asked for the image: its tag may move."""
    registry = node.stage.registry
    images.push(registry, "crowd:1", TestImage(files={"crowd": "1"}))
    asked, manifest = [], Registry.manifest

    def counted(self, reference, *arguments):
        if reference.path == "crowd":
            asked.append(reference)
        return manifest(self, reference, *arguments)

    monkeypatch.setattr(Registry, "manifest", counted)

    async def scenario(runtime):
        name = f"{registry}/crowd:1"
        found = await asyncio.gather(*(runtime._images.pull(name) for _ in range(10)))
        assert len(asked) == 2
        await runtime.pull(name)
        assert len(asked) == 3, "later there is nobody to share with"
        return found, await runtime.has_image(name)

    found, here = run(node, scenario)
    assert here
    assert len({image.digest for image in found}) == 1


def test_who_waits_behind_a_removal_pulls_anew(node):
    registry = node.stage.registry
    images.push(registry, "gone:1", TestImage(files={"gone": "1"}))

    async def scenario(runtime):
        name = f"{registry}/gone:1"
        first = await runtime._images.pull(name)
        await asyncio.gather(
            runtime.pull(name),
            runtime.pull(name),  # begins when all have asked, so it would do for the last one
            runtime._images.remove(first.name, first.digest, lambda: True, last=True),
            runtime.pull(name),
        )
        return await runtime.has_image(name)

    assert run(node, scenario)
