"""Backup files as the command line writes and reads them, and what it prints."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from manager.recovery import backup
from manager.recovery.backup import encode_manifest
from pyswarm.api.v1 import recovery_pb2
from pyswarm.cli import recovery, recovery_text
from pyswarm.errors import DataLoss, InvalidArgument, Unavailable
from pyswarm.testing.backups import manifest

STATE = bytes(range(256)) * 5000
MANIFEST = manifest(state_bytes=len(STATE), counts={"services": 2, "nodes": 4})


class Daemon:
    """A connection to a daemon that answers these chunks, and may end too early."""

    def __init__(self, *, ends: bool = True) -> None:
        size = backup.PIECE_BYTES
        pieces = [STATE[start : start + size] for start in range(0, len(STATE), size)]
        self._chunks = [recovery_pb2.BackupChunk(manifest=encode_manifest(MANIFEST))]
        self._chunks += [
            recovery_pb2.BackupChunk(data=piece, last=ends and piece is pieces[-1])
            for piece in pieces
        ]
        self.recovery = self
        self.failure: Exception | None = None

    def Backup(self, request: object) -> None:
        return None

    async def stream(self, answers: object):
        for chunk in self._chunks:
            yield chunk
        if self.failure is not None:
            raise self.failure


@pytest.fixture(autouse=True)
def _cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "COST", 10)


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    return str(path)


def write(path: Path, passphrase: str, daemon: Daemon) -> None:
    args = Namespace(file=str(path), passphrase_file=passphrase)
    assert asyncio.run(recovery._backup(args, daemon)) == 0


def test_a_backup_is_for_its_owner_alone_and_read_back(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "file"
    path.write_text("an older one")
    path.chmod(0o644)
    write(path, passphrase, Daemon())
    assert path.stat().st_mode & 0o777 == 0o600
    assert STATE[:64] not in path.read_bytes()
    manifest, _, _ = recovery.check(path, b"correct horse")
    assert manifest == MANIFEST
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "passphrase"]


@pytest.mark.parametrize("problem", ["fails", "ends early"])
def test_a_backup_that_breaks_off_leaves_the_older_one(
    tmp_path: Path, passphrase: str, problem: str
) -> None:
    path = tmp_path / "file"
    path.write_text("an older one")
    daemon = Daemon(ends=problem != "ends early")
    daemon.failure = Unavailable("the daemon went away") if problem == "fails" else None
    with pytest.raises((Unavailable, DataLoss)):
        write(path, passphrase, daemon)
    assert path.read_text() == "an older one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "passphrase"]


def test_a_backup_without_the_root_s_key_says_what_a_restore_needs() -> None:
    assert "the root key" in recovery_text.contents(MANIFEST)
    assert "external CA" not in recovery_text.contents(MANIFEST)
    text = recovery_text.contents(replace(MANIFEST, root_key=False))
    assert "the root key and" not in text
    assert "Only the external CA has the root's key: a restore asks it" in text
    older = json.loads(encode_manifest(MANIFEST))
    del older["root_key"]
    assert backup.decode_manifest(json.dumps(older).encode()) == MANIFEST


def test_a_file_that_is_cut_off_or_damaged_is_refused(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "file"
    write(path, passphrase, Daemon())
    whole = path.read_bytes()
    for cut in (0, 10, 40, 600, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataLoss):
            recovery.check(path, b"correct horse")
    path.write_bytes(whole)
    with pytest.raises(DataLoss, match="passphrase is wrong"):
        recovery.check(path, b"correct horsf")


def test_a_passphrase_comes_from_a_file_or_the_standard_input(
    passphrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recovery.read_passphrase(passphrase, twice=True) == b"correct horse"
    stdin = io.TextIOWrapper(io.BytesIO(b"from a pipe\r\nrest"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert recovery.read_passphrase(None, twice=True) == b"from a pipe"
    with pytest.raises(InvalidArgument, match="cannot read the passphrase"):
        recovery.read_passphrase("/nowhere/at/all", twice=False)


def test_a_terminal_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one word", "one word", "one word", "another"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert recovery.read_passphrase(None, twice=True) == b"one word"
    with pytest.raises(InvalidArgument, match="differ"):
        recovery.read_passphrase(None, twice=True)


def test_status_is_a_table_with_sentences() -> None:
    figures = recovery_pb2.ManagerFigures(
        term=4,
        commit_index=90,
        applied_index=90,
        first_index=41,
        last_index=90,
        snapshot_index=40,
        snapshot_at=1000.0,
        snapshot_bytes=2048,
        log_bytes=1 << 20,
        log_segments=2,
    )
    up = recovery_pb2.MemberStatus(
        hostname="m1", address="a:1", reachable=True, leader=True, figures=figures
    )
    down = recovery_pb2.MemberStatus(hostname="m2", address="b:1", heard_seconds=300)
    status = recovery_pb2.SwarmStatus(
        cluster_id="c",
        hostname="m1",
        managers=3,
        quorum=2,
        reachable=2,
        members=[up, down],
        advice=["Start\x1b m2."],
    )
    lines = recovery_text.status(status, 1060.0).splitlines()
    assert "Quorum: 3 managers, quorum 2, 2 reachable, 0 more may fail" in lines
    assert "Leader: none. This is what m1 knows by itself." in lines
    cells = [line.split() for line in lines]
    assert ["m1", "a:1", "Leader", "4", "90", "90", "0"] in cells
    assert ["m1", "40", "About", "a", "minute", "2KiB", "50", "1MiB", "2"] in cells
    assert "Unreachable, heard 5 minutes ago" in "\n".join(lines)
    assert lines[-1] == "! Start\N{REPLACEMENT CHARACTER} m2."


def test_a_dry_run_of_going_on_says_what_is_kept_and_lost() -> None:
    plan = recovery_pb2.ForceNewClusterResponse(
        node_id="n",
        last_index=7,
        commit_index=6,
        changed_at=900.0,
        unconfirmed_count=1,
        unconfirmed=["service web changed"],
        dropped=[recovery_pb2.MemberStatus(hostname="m2", address="b:1", heard_seconds=-1)],
    )
    text = recovery_text.going_on(plan, 960.0, done=False)
    assert "m2 (b:1), not heard of since this daemon started" in text
    assert "up to entry 7 of the log; its latest change was made about a minute ago" in text
    assert " service web changed" in text
    assert text.endswith("Nothing was changed.")
    assert "Nothing was changed" not in recovery_text.going_on(plan, 960.0, done=True)


def test_json_has_numbers_as_numbers_and_what_is_absent_as_null() -> None:
    member = recovery_pb2.MemberStatus(hostname="m1", raft_id=1 << 62)
    plain = recovery._plain(recovery_pb2.SwarmStatus(members=[member]))
    assert plain["members"][0]["raft_id"] == 1 << 62
    assert plain["members"][0]["figures"] is None
    assert plain["advice"] == []
