"""Which images of a stack are looked up, and what becomes of the answers."""

from dataclasses import replace

import pytest

from pyswarm.compose.pinning import Pin, tagged, to_look_up, unanswered, with_pins
from pyswarm.compose.plan import Existing, plan
from pyswarm.compose.stack import IMAGE_LABEL, NAMESPACE_LABEL, Stack
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Placement, Platform, Service, ServiceSpec, TaskSpec

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
AMD, ARM = (Platform(os="linux", architecture=name) for name in ("amd64", "arm64"))


def spec(label: str, image: str, *platforms: Platform) -> ServiceSpec:
    return ServiceSpec(
        name="shop_web",
        labels={NAMESPACE_LABEL: "shop", IMAGE_LABEL: label},
        task=TaskSpec(
            container=ContainerSpec(image=image), placement=Placement(platforms=platforms)
        ),
    )


def stack(*specs: ServiceSpec) -> Stack:
    return tagged(Stack(name="shop", services=specs))


def stored(found: ServiceSpec) -> Existing:
    return Existing(services=(Service(id="s1", spec=found),))


def pins(image: str, *platforms: Platform, problem: str = "") -> dict[str, Pin]:
    return {"shop_web": Pin(image=image, platforms=platforms, problem=problem)}


WANTED = stack(spec("web", "web"))
BEFORE = stored(spec("web", f"web:latest@{ONE}", AMD))


@pytest.mark.parametrize(
    ("mode", "existing", "looked_up"),
    [
        ("always", BEFORE, 1),
        ("always", Existing(), 1),
        ("changed", BEFORE, 0),
        ("changed", Existing(), 1),
        ("changed", stored(spec("web:0", f"web:0@{ONE}")), 1),
        ("never", Existing(), 0),
    ],
)
def test_images_are_looked_up_as_dockers_three_words_say(
    mode: str, existing: Existing, looked_up: int
) -> None:
    assert len(to_look_up(WANTED, existing, mode)) == looked_up


def test_the_same_answer_changes_nothing_and_another_one_is_an_update() -> None:
    same, _ = with_pins(WANTED, BEFORE, pins(f"web:latest@{ONE}", AMD))
    assert plan(same, BEFORE).unchanged == ("shop_web",)
    other, _ = with_pins(WANTED, BEFORE, pins(f"web:latest@{TWO}", AMD, ARM))
    [step] = plan(other, BEFORE).steps
    assert isinstance(step.spec, ServiceSpec)
    assert step.spec.task.container.image == f"web:latest@{TWO}"
    assert step.spec.task.placement.platforms == (AMD, ARM)


def test_what_is_not_looked_up_stays_at_the_digest_that_it_has() -> None:
    assert plan(WANTED, BEFORE).unchanged == ("shop_web",)


def test_a_registry_that_is_away_moves_no_service_that_runs() -> None:
    found, [warning] = with_pins(WANTED, BEFORE, pins("web:latest", problem="it is away"))
    assert plan(found, BEFORE).unchanged == ("shop_web",)
    assert "stays at the version that it has (it is away)" in warning


def test_a_new_service_without_a_digest_is_warned_of_in_dockers_words() -> None:
    pin = pins("web:latest", problem="it is away")
    found, warnings = with_pins(WANTED, Existing(), pin)
    assert found.services[0].task.container.image == "web:latest"
    assert warnings == (unanswered(pin["shop_web"]),)
    assert unanswered(pin["shop_web"]).startswith(
        "image web:latest could not be accessed on a registry to record\n"
        "its digest. Each node will access web:latest independently,\n"
        "possibly leading to different nodes running different\n"
        "versions of the image.\n"
    )


def test_a_platform_in_the_file_is_the_users_word() -> None:
    wanted = stack(spec("web", "web", ARM))
    found, _ = with_pins(wanted, Existing(), pins(f"web:latest@{ONE}", AMD, ARM))
    assert found.services[0].task.placement.platforms == (ARM,)


def test_a_name_that_is_none_is_refused_with_its_service() -> None:
    bad = replace(WANTED, services=(spec("x", "No Image"),))
    with pytest.raises(InvalidArgument, match="service shop_web"):
        tagged(bad)
