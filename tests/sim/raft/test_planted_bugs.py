"""The simulation has teeth: each bug, planted on purpose, is found within a few seeds.

Most of them were real in other implementations; `manager/raft/README.md` names which. Those that
chance finds too rarely are in `test_scenarios.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from manager.raft import quorum
from manager.raft.core import Raft
from manager.raft.leader import Leader
from manager.raft.log import Log
from manager.raft.messages import AppendReply
from pyswarm.testing.raft_node import SimDisk, Violation
from pyswarm.testing.raft_sim import Faults, run_seed

SEEDS = 40
Patch = pytest.MonkeyPatch


def vote_twice(patch: Patch) -> None:
    patch.setattr(Raft, "may_vote", lambda self, request: True)


def reply_before_fsync(patch: Patch) -> None:
    promise = Raft.promise

    def hasty(self, message):
        (self.send if isinstance(message, AppendReply) else promise.__get__(self))(message)

    patch.setattr(Raft, "promise", hasty)


def count_the_own_log_before_fsync(patch: Patch) -> None:
    def hasty(self):
        self.match = self._raft.log.last_index
        self.maybe_commit()

    patch.setattr(Leader, "stable", hasty)


def truncate_without_conflict(patch: Patch) -> None:
    def blunt(self, prev_index, prev_term, entries):
        if self.term(prev_index) != prev_term:
            return False
        if entries and self.last_index > prev_index:
            self.truncate(prev_index + 1)
        self._entries.extend(entries)
        return True

    patch.setattr(Log, "try_append", blunt)


def count_a_removed_member(patch: Patch) -> None:
    changed = Leader.membership_changed

    def forgetful(self, new):
        gone = {p: f for p, f in self.progress.items() if p not in new.ids}
        changed(self, new)
        self.progress.update(gone)

    def all_ever(self):
        raft = self._raft
        matches = [self.match, *(found.match for found in self.progress.values())]
        index = quorum.reached(matches)
        if index > raft.log.commit and self.may_commit(index):
            raft.log.commit_to(index)

    patch.setattr(Leader, "membership_changed", forgetful)
    patch.setattr(Leader, "maybe_commit", all_ever)


def a_majority_of_all_but_oneself(patch: Patch) -> None:
    patch.setattr(quorum, "majority", lambda number: max(1, number // 2))


def apply_without_knowing_it_is_committed_after_a_restart(patch: Patch) -> None:
    saved = SimDisk.saved
    patch.setattr(
        SimDisk,
        "saved",
        lambda self: (
            replace(saved(self), commit=saved(self).entries[-1].index)
            if saved(self).entries
            else saved(self)
        ),
    )


BUGS = [
    vote_twice,
    reply_before_fsync,
    count_the_own_log_before_fsync,
    truncate_without_conflict,
    count_a_removed_member,
    a_majority_of_all_but_oneself,
    apply_without_knowing_it_is_committed_after_a_restart,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__)
def test_the_simulation_finds(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation, match=r"repeat with: python -m pyswarm\.testing\.raft_sim"):
        run_all(Faults(time=1500, crash=0.006, partition=0.004, change=0.006))


def run_all(faults: Faults) -> None:
    for seed in range(SEEDS):
        run_seed(seed, faults)
