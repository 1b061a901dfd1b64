"""The fuzzer of service specifications finds bugs that are planted for it."""

import fuzzing
import pytest
import specs
from fuzzing import Broken, run
from specs import SERVICE_SPECS


@pytest.fixture(autouse=True)
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzzing, "CORPUS", tmp_path)


def test_a_bug_on_a_node_is_found(monkeypatch):
    monkeypatch.setattr(specs, "etc_hosts", lambda name, own, extra: {}[name])
    with pytest.raises(Broken, match="KeyError"):
        run(SERVICE_SPECS, 60.0, seed=0)


def test_a_specification_that_only_a_planner_cannot_bear_is_found(monkeypatch):
    def observe(self, changes):
        view = self._store.view
        assert not any(s.spec.task.container.read_only for s in view.list(specs.Service))
        return True

    monkeypatch.setattr(specs.Scheduler, "observe", observe)
    with pytest.raises(Broken, match="AssertionError"):
        run(SERVICE_SPECS, 60.0, seed=0)


def test_a_service_that_cannot_be_removed_is_found(monkeypatch):
    monkeypatch.setattr(specs, "_next", lambda task: task.status.state)
    with pytest.raises(Broken, match="cannot be removed"):
        run(SERVICE_SPECS, 60.0, seed=0)


def test_an_error_that_is_no_sentence_is_found(monkeypatch):
    monkeypatch.setattr(specs, "one_line", lambda message: message)
    with pytest.raises(Broken, match="AssertionError"):
        run(SERVICE_SPECS, 60.0, seed=0)
