"""A secret and a config for people."""

from pyswarm.cli.payload_pretty import payloads_text
from pyswarm.model import Config, Meta, PayloadSpec, Secret

META = Meta(created_at=1.0, updated_at=2.0)


def test_a_config_is_shown_with_its_content_and_moves_no_cursor():
    spec = PayloadSpec(name="site", labels={"b": "2", "a": "1"}, data=b"one\n\x1b[2Jtwo\n")
    assert payloads_text([Config(id="abc", meta=META, spec=spec, version=3)]) == (
        "ID:                abc\n"
        "Name:              site\n"
        "Labels:\n"
        " - a=1\n"
        " - b=2\n"
        "Version:           3\n"
        "Created at:        1970-01-01T00:00:01.000Z\n"
        "Updated at:        1970-01-01T00:00:02.000Z\n"
        "Data:\n"
        "one\n"
        "\N{REPLACEMENT CHARACTER}[2Jtwo"
    )


def test_a_secret_is_shown_without_its_content_and_apart_from_the_next():
    spec = PayloadSpec(name="key", data=b"hidden")
    text = payloads_text([Secret(id="abc", spec=spec), Secret(id="def", spec=spec)])
    assert "hidden" not in text
    assert "Labels" not in text
    assert "\n\nID:                def\n" in text
