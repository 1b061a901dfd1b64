"""Which images go, as a script: tests/unit/agent/images/scripts/collect.txt."""

from pathlib import Path

from agent.images.collect import collect, freed_bytes, prunable, total_bytes, unique_bytes
from agent.images.store import Disk, ImageSeen, Needs, needs
from pyswarm.model import ImagePolicy
from pyswarm.testing import golden

NOW = 1_000_000.0
HOUR = 3600.0
PLACE = "docker.io/library/"


class Stage:
    """The images of a node and what is needed, as the lines of the script make them."""

    def __init__(self) -> None:
        self.images: dict[str, ImageSeen] = {}
        self.needs = Needs()

    def answer(self, line: str) -> str:
        word, *rest = line.split()
        return str(getattr(self, word)(rest))

    def image(self, words: list[str]) -> str:
        name, *fields = words
        said = dict(field.split("=") for field in fields)
        digest, at = said.pop("digest"), NOW - float(said.pop("used")) * HOUR
        parts = {part: int(size) for part, size in said.items()}
        self.images[name] = ImageSeen(
            name=PLACE + name, digest=digest, parts=parts, created_at=at, used_at=at
        )
        return "ok"

    def needed(self, words: list[str]) -> str:
        names = frozenset(PLACE + word for word in words if "@" not in word)
        digests = frozenset(word.partition("@")[2] for word in words if "@" in word)
        self.needs = Needs(names, digests)
        return "ok"

    def collect(self, words: list[str]) -> str:
        said = {key: float(value) for key, value in (word.split("=") for word in words)}
        policy = ImagePolicy(
            max_age_seconds=said["age"] * HOUR,
            grace_seconds=said["grace"] * HOUR,
            disk_high_percent=int(said["high"]),
            disk_low_percent=int(said["low"]),
        )
        disk = Disk(total_bytes=int(said["disk"]), used_bytes=int(said["full"]))
        plan = collect(list(self.images.values()), self.needs, policy, disk, NOW)
        lines = [f"{each.image.name.removeprefix(PLACE)}  {each.reason}" for each in plan]
        return "\n".join(lines) or "nothing"

    def prune(self, words: list[str]) -> str:
        hours = [float(word.removeprefix("until=")) for word in words if "=" in word]
        images = list(self.images.values())
        until = NOW - hours[0] * HOUR if hours else 0.0
        gone = prunable(images, self.needs, everything="-a" in words, until=until)
        names = [image.name.removeprefix(PLACE) for image in gone]
        freed = freed_bytes(images, [image.name for image in gone])
        return "\n".join(names) + f"  frees {freed}" if names else "nothing"


def test_images_go_in_their_order_and_none_that_is_needed() -> None:
    golden.run(Path(__file__).with_name("scripts") / "collect.txt", Stage().answer)


def seen(name: str, **parts: int) -> ImageSeen:
    return ImageSeen(name=name, digest=name, parts=parts)


def test_a_part_that_images_share_counts_once_for_all_and_for_none_alone() -> None:
    images = [seen("a", base=100, top=1), seen("b", base=100, top2=2)]
    assert total_bytes(images) == 103
    assert unique_bytes(images) == {"a": 1, "b": 2}
    assert freed_bytes(images, ["a"]) == 1
    assert freed_bytes(images, ["a", "b"]) == 103


def test_what_services_name_is_found_under_every_name_of_it() -> None:
    digest = "sha256:" + "a" * 64
    needed = needs(["web", f"registry:5000/shop:1@{digest}", "no image!"])
    assert needed.cover(ImageSeen(name="docker.io/library/web:latest", digest="x"))
    assert needed.cover(ImageSeen(name="ghcr.io/mirror/shop:9", digest=digest))
    assert not needed.cover(ImageSeen(name="registry:5000/shop:1", digest="x"))
