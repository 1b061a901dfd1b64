"""Named places where this process can be made to die, so that tests can prove what a crash leaves.

A step that changes something outside the process (a file, a container, a place in the networks)
has a point on each side of it that matters: `reach("wal.synced")`. Off, as always in production,
a point is one look at a name. A daemon is armed by its environment alone,

    PYSWARM_CRASH=NAME          die at the first time that NAME is reached
    PYSWARM_CRASH=NAME:COUNT    die at the COUNT-th time

and dies by SIGKILL, so nothing is flushed and nobody is told. There is no other way: no RPC, no
file and no signal reaches it. Tests that look at a point without dying use `arm`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

VARIABLE: Final = "PYSWARM_CRASH"

POINTS: Final[Mapping[str, str]] = {
    # the log of the managers: manager/raft/disk.py
    "recovery.locked": "the directory is ours, and nothing of it was read",
    "recovery.stray-removed": "one unfinished snapshot was removed",
    "recovery.names-synced": "all names in the directory are durable, and no file was read",
    "recovery.snapshot-read": "the newest snapshot was read, the log not yet",
    "recovery.segment-read": "one file of the log was read",
    "recovery.tail-cut": "a torn tail was cut off, not yet for good",
    "recovery.tail-synced": "the tail is cut off for good",
    "recovery.segment-dropped": "a file whose creation was cut short was removed",
    "recovery.reset-due": "the entries before an installed snapshot are read but not yet void",
    "recovery.done": "the state is rebuilt, and nobody was told",
    "cluster.snapshot-saved": "a new cluster has its first snapshot, but no record",
    "wal.begun": "a write is to be made, and nothing of it is in the file",
    "wal.written": "a record is in the file, but not durable",
    "wal.synced": "a record is durable, and nobody was told",
    "wal.snapshot-installed": "a leader's snapshot is saved, its record is not",
    "segment.due": "the next record goes to a new file, which is not there yet",
    "segment.created": "a new file of the log is there, and empty",
    "segment.begun": "a new file has its first record, but its name is not durable",
    "segment.refilled": "a file under its temporary name holds some of the entries again",
    "segment.named": "a new file has its name, not yet for good",
    "segment.ready": "a new file is durable, and the old one still open",
    "segment.removed": "one old file was removed, not yet for good",
    "segment.removal-synced": "old files were removed for good",
    "snapshot.created": "a snapshot's draft is there, and empty",
    "snapshot.piece-written": "one piece of a snapshot is in its draft",
    "snapshot.written": "the draft is complete, but not durable",
    "snapshot.synced": "the draft is durable under its temporary name",
    "snapshot.renamed": "the snapshot has its name, not yet for good",
    "snapshot.durable": "the snapshot is durable, and older ones are still there",
    "snapshot.older-removed": "one older snapshot was removed",
    # the rounds of raft: manager/raft/runtime.py
    "raft.restored": "the state machine has the snapshot, and the log is not applied",
    "raft.sent": "a round's messages left, its own write did not begin",
    "raft.write-done": "a write is durable, and its promises have not left",
    "raft.applied": "an entry is applied, and its proposer was not told",
    "raft.snapshot-saved": "a snapshot is durable, and the log not yet shortened",
    "raft.compacted": "the log in memory is shortened, its old files are still there",
    # keys and certificates: certs/disk.py
    "identity.draft-created": "the draft of a key's file is there, and empty",
    "identity.draft-written": "the draft is complete, but not durable",
    "identity.draft-synced": "the draft is durable under its temporary name",
    "identity.renamed": "key and certificate have their name, not yet for good",
    "identity.stored": "key and certificate are durable, and nobody was told",
    "identity.file-removed": "one of the files of a node that leaves was removed",
    # swarm.json: pyswarm/daemon/membership.py
    "membership.draft-created": "the draft of swarm.json is there, and empty",
    "membership.draft-synced": "the draft of swarm.json is durable under its temporary name",
    "membership.renamed": "swarm.json has its name, not yet for good",
    "membership.removed": "swarm.json was removed",
    # a node comes and goes: pyswarm/daemon/node.py
    "join.certified": "the managers know the node, and it has stored nothing",
    "join.credentials-stored": "certificate and key are stored, and nothing runs",
    "join.remembered": "swarm.json is there, and nothing runs",
    "join.serving": "manager and agent run, and the raft group was not asked",
    "join.raft-joined": "the raft group has the new manager, which has no state yet",
    "leave.said-goodbye": "the managers took the node out, and its files are still here",
    "leave.wiped": "the containers are gone, and the files are still here",
    "leave.disarmed": "the certificate is gone, and the state directories are still here",
    "leave.emptied": "the state directories are gone, and swarm.json is still here",
    # what an agent remembers: agent/disk.py, agent/driver.py
    "worker.draft-written": "a file of the agent's memory is written under its temporary name",
    "worker.file-replaced": "a file of the agent's memory has its new content",
    "worker.task-dropped": "a task was forgotten on disk",
    "agent.task-saved": "an assigned task is remembered, and nothing was done for it",
    "agent.stray-removed": "one container that nobody wants was removed at the start",
    # the steps of a task: agent/executor/driver.py
    "task.pulled": "the image is here",
    "task.attached": "the task is in its networks, and has no files",
    "task.files-written": "the task has its files, and no container",
    "task.files-rewritten": "this host has another version, and a container that runs not in full",
    "task.files-replaced": "a container that runs is shown another version, and was not told",
    "task.created": "the container is made, and its machine was not told",
    "task.started": "the container runs, and nobody was told",
    "task.ended": "the container has ended, and still has its addresses",
    "task.marked-dead": "an ended container left its addresses, and nobody was told",
    "task.signalled": "the stop signal was sent",
    "task.deleted": "the container is gone, and its place in the networks is still there",
    "task.detached": "the place in the networks is gone, and the files are still there",
    "task.cleaned": "the files are gone, and the machine was not told",
    "task.logs-removed": "the logs are gone, and the task is still remembered",
}
"""Every point, and what is true where it is reached."""

Action = Callable[[str], None]

_action: Action | None = None


def reach(name: str) -> None:
    """The process is at this point."""
    if _action is not None:
        _action(name)


def arm(action: Action | None) -> None:
    """For tests: call `action` with the name of each point that is reached; None ends it."""
    global _action
    _action = action


def death_at(text: str) -> Action:
    """What dies at "NAME" or "NAME:COUNT"; ValueError where there is no such point."""
    name, _, number = text.partition(":")
    left = int(number or "1")
    if name not in POINTS or left < 1:
        raise ValueError(f"there is no crash point {text}: pyswarm/crashpoints.py has their names")

    def die(reached: str) -> None:
        nonlocal left
        if reached != name:
            return
        left -= 1
        if left == 0:
            os.write(2, f"killed at crash point {text}, as {VARIABLE} asks\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    return die


if _wanted := os.environ.get(VARIABLE):
    arm(death_at(_wanted))
