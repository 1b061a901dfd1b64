import pytest

from pyswarm.compose.generic import offered, requested
from pyswarm.errors import InvalidArgument
from pyswarm.model import GenericResource


def test_a_service_asks_for_a_number():
    assert requested("GPU=2") == GenericResource(kind="GPU", count=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GPU", "invalid generic-resource format `GPU` expected `name=value`"),
        ("GPU=UUID1", "Named Generic Resources is not supported for service create or update"),
        ("GPU=0", "ask for 1 or more"),
        ("GPU=99999999999999999999", "too many"),
        ("=2", "a name is of letters"),
        ("G P=2", "a name is of letters"),
        ("GPU=", "a name is of letters"),
    ],
)
def test_a_request_that_is_none(text, words):
    with pytest.raises(InvalidArgument, match=words):
        requested(text)


def test_a_node_offers_names_or_a_number():
    assert offered(["GPU=UUID1", "SSD=4", "GPU=UUID2"]) == (
        GenericResource(kind="GPU", value="UUID1"),
        GenericResource(kind="GPU", value="UUID2"),
        GenericResource(kind="SSD", count=4),
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["GPU=2", "GPU=UUID1"], "given as a number and again"),
        (["GPU=UUID1", "GPU=2"], "given as a number and again"),
        (["GPU=1", "GPU=1"], "given as a number and again"),
        (["GPU=UUID1", "GPU=UUID1"], "given twice"),
    ],
)
def test_an_offer_that_cannot_be(texts, words):
    with pytest.raises(InvalidArgument, match=words):
        offered(texts)
