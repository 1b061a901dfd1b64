"""A short run of every target, always with the same changes to its good inputs (keys are new each
time); and every input that failed once."""

from __future__ import annotations

import time

import fuzzing
import pytest
from fuzzing import Broken, Target, check, inputs, kept, run
from targets import TARGETS

SECONDS = 0.6
"""For each target; `make fuzz` takes longer, and other inputs."""


@pytest.fixture(autouse=True)
def no_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_each_good_input_is_read_and_each_strange_one_is_read_or_refused(target: Target) -> None:
    for seed in target.seeds[:1]:
        target.read(seed)
    assert run(target, SECONDS, seed=0) > 10


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_failed_once_does_not_fail_again(target: Target) -> None:
    for path in kept(target):
        check(target, path.read_bytes())


def test_the_corpus_belongs_to_targets() -> None:
    names = {target.name for target in TARGETS}
    assert {path.name for path in fuzzing.CORPUS.iterdir()} <= names


def planted(read) -> Target:
    return Target("planted", read, (ValueError,), (b"good input",))


def test_a_target_that_raises_something_else_is_found_and_its_input_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzing, "CORPUS", tmp_path)

    def read(data: bytes) -> object:
        return {}[data[-1]] if data.startswith(b"good") and data[-1:] > b"u" else None

    target = planted(read)
    with pytest.raises(Broken, match="planted raised KeyError"):
        run(target, 60.0, seed=0)
    (path,) = kept(target)
    with pytest.raises(Broken):
        check(target, path.read_bytes())


def test_a_target_that_takes_too_long_or_too_much_is_found(monkeypatch):
    monkeypatch.setattr(fuzzing, "SECONDS_MAX", 0.05)
    with pytest.raises(Broken, match="longer than"):
        check(planted(lambda data: time.sleep(60)), b"")
    monkeypatch.setattr(fuzzing, "SECONDS_MAX", 60.0)
    monkeypatch.setattr(fuzzing, "MEMORY_BYTES_MAX", 1 << 20)
    peak = fuzzing._peak_bytes()
    with pytest.raises(Broken, match="MiB"):
        check(planted(lambda data: len(b"x" * (peak + (64 << 20)))), b"")


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, again = inputs(TARGETS[0], 5), inputs(TARGETS[0], 5)
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)]
