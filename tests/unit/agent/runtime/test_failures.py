import pytest

from agent.runtime.failures import sentence
from pyswarm.errors import InvalidArgument, SwarmError, Unavailable

WRAPPED = (
    "containerd: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)


def test_the_wrapping_is_taken_off_and_a_fault_of_the_service_is_permanent():
    text = f'{WRAPPED}exec: "nope": executable file not found in $PATH: unknown'
    found = sentence(SwarmError(text), "the container cannot be created")
    assert type(found) is InvalidArgument
    assert found.message == (
        'the container cannot be created: exec: "nope": executable file not found in $PATH'
    )


def test_another_failure_keeps_its_class():
    found = sentence(SwarmError(f"{WRAPPED}no space left: unknown: unknown"), "it failed")
    assert (type(found), found.message) == (SwarmError, "it failed: no space left")


def test_a_failure_that_passes_is_left_as_it_is():
    error = Unavailable("containerd does not answer")
    assert sentence(error, "it failed") is error


@pytest.mark.parametrize("text", ["a\nb", "x" * 10_000])
def test_a_sentence_is_one_line_and_not_long(text):
    message = sentence(SwarmError(text), "it failed").message
    assert "\n" not in message
    assert len(message) < 600
