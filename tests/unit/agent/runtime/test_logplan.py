"""A service's log driver and options, worked out for one container."""

import pytest

from agent.executor.containers import ContainerRequest
from agent.runtime.logplan import LogPlan, Rotation, from_json, log_plan
from pyswarm.errors import InvalidArgument
from pyswarm.model import ContainerSpec, Resources
from pyswarm.registry.documents import ImageConfig


def plan(driver="", **options):
    request = ContainerRequest(
        id="0123456789abcdefghijklmno",
        container=ContainerSpec(image="shop/web:1", env=("TIER=front", "OTHER=x")),
        limits=Resources(),
        mounts=(),
        namespace="",
        hostname="box",
        labels={"app.name": "shop", "com.docker.swarm.task.name": "web.1.0123"},
        log_driver=driver,
        log_options={name.replace("_", "-"): value for name, value in options.items()},
    )
    return log_plan(request, ImageConfig(env=("TIER=image", "FROM_IMAGE=1")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Rotation(10 << 20, 3)),
        ({"max_size": "512k", "max_file": "5"}, Rotation(512 << 10, 5)),
        ({"max_size": "1g"}, Rotation(1 << 30, 3)),
        ({"max_size": "100"}, Rotation(100, 3)),
        ({"max_size": "-1"}, Rotation(0, 3)),
    ],
)
def test_rotation_is_read(options, expected):
    assert plan(**options) == LogPlan(rotation=expected)
    assert plan("json-file", **options).rotation == expected


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("", {"max_size": "big"}, 'max-size "big" is no size'),
        ("", {"max_size": "0"}, "is no size"),
        ("", {"max_file": "0"}, "no number of 1 to 100"),
        ("", {"max_file": "\u0663"}, "no number"),
        ("", {"colour": "red"}, "unknown log opt 'colour' for json-file log driver"),
        ("none", {"max_size": "1m"}, "unknown log opt 'max-size' for none log driver"),
        ("syslog", {}, "there is no log driver syslog, use one of json-file, journald, none"),
        ("", {"env_regex": "("}, "cannot be read"),
        ("", {"mode": "non-blocking"}, "not available"),
        ("", {"tag": "{{.Colour}}"}, ".Colour is not known"),
        ("", {"tag": "x" * 70000}, "over 65536 bytes"),
    ],
)
def test_what_cannot_be_followed_is_refused(driver, options, words):
    with pytest.raises(InvalidArgument) as error:
        plan(driver, **options)
    assert words in error.value.message


def test_labels_variables_and_tag_are_chosen():
    made = plan(labels="app.name,none", env="TIER", env_regex="^FROM", tag="{{.Name}}/{{.ID}}")
    assert made.attributes == {
        "app.name": "shop",
        "TIER": "front",
        "FROM_IMAGE": "1",
        "tag": "web.1.0123/0123456789ab",
    }
    assert made.fields == {}


def test_the_journals_fields_are_dockers():
    made = plan("journald", labels="app.name")
    assert made.fields == {
        "APP_NAME": "shop",
        "CONTAINER_ID": "0123456789ab",
        "CONTAINER_ID_FULL": "0123456789abcdefghijklmno",
        "CONTAINER_NAME": "web.1.0123",
        "CONTAINER_TAG": "0123456789ab",
        "IMAGE_NAME": "shop/web:1",
        "SYSLOG_IDENTIFIER": "0123456789ab",
    }


def test_a_plan_is_kept_for_the_next_daemon():
    for made in (plan("journald", labels="app.name", max_size="1m"), plan("none"), plan()):
        assert from_json(made.to_json()) == made
