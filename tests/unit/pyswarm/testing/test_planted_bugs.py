"""The hunt for planted bugs, on two small worlds of its own."""

from __future__ import annotations

import json

import pytest

from pyswarm.testing.planted_bugs import Bug, Catalogue, Scenario, Seeds, __main__, hunt, patched


class Rules:
    """Production code, as far as these tests go."""

    limit = 3


def within_the_limit(seed: int) -> None:
    assert Rules.limit < 4, f"seed {seed} is above the limit"
    if Rules.limit == 0:
        assert seed < 7, "seven is too much"


def harmless() -> None:
    assert Rules.limit >= 0


BUGS = Catalogue()
seeds = Seeds("world", within_the_limit)


@BUGS.add("The limit is too high.", seeds)
def limit_too_high():
    return patched((Rules, "limit", 10))


@BUGS.add("The limit is gone.", seeds)
def no_limit():
    return patched((Rules, "limit", 0))


def missed() -> Bug:
    return Bug("nobody-looks", "Nothing.", no_limit, Scenario("harmless", harmless))


def test_a_bug_is_named_after_the_function_that_plants_it() -> None:
    assert [bug.name for bug in BUGS] == ["limit-too-high", "no-limit"]


def test_the_first_seed_that_notices_is_told_with_the_check() -> None:
    first, second = (hunt(bug) for bug in BUGS)
    assert (first.caught, first.where) == (True, "world 0")
    assert first.check == "seed 0 is above the limit"
    assert (second.where, second.check) == ("world 7", "seven is too much")
    assert Rules.limit == 3


def test_a_search_that_fails_without_the_bug_has_caught_nothing() -> None:
    def broken() -> None:
        raise AssertionError("always")

    outcome = hunt(Bug("x", "X.", no_limit, Scenario("broken", broken)))
    assert not outcome.caught
    assert outcome.check == "fails without it too: always"


def test_the_budget_ends_a_hunt_and_so_does_a_try_without_an_end() -> None:
    def forever(seed: int) -> None:
        while True:
            seed += 1

    assert not hunt(Bug("x", "X.", no_limit, Seeds("calm", lambda seed: None)), 0.05).caught
    outcome = hunt(Bug("x", "X.", no_limit, Seeds("forever", forever)), 0.05)
    assert (outcome.caught, outcome.check) == (False, "a try does not end")


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(__main__, "fingerprint", lambda: "these sources")
    monkeypatch.setattr(__main__, "catalogue", lambda part: list(BUGS))
    return monkeypatch


def test_the_command_says_what_was_caught(command, capsys) -> None:
    assert __main__.main([]) == 0
    out = capsys.readouterr().out
    assert "caught    0.0 s  limit-too-high" in out
    assert "2 of 2 planted bugs caught" in out
    assert not __main__.STATE.exists()


def test_the_command_fails_where_one_is_missed(command, capsys) -> None:
    command.setattr(__main__, "catalogue", lambda part: [*BUGS, missed()])
    assert __main__.main(["--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["caught"] for one in told] == [True, True, False]
    assert __main__.main(["--only", "no-limit"]) == 0
    with pytest.raises(SystemExit):
        __main__.main(["--only", "nothing"])


def test_a_catalogue_can_be_run_alone() -> None:
    raft, plane, both = (__main__.catalogue(part) for part in ("raft", "plane", None))
    assert raft
    assert plane
    assert raft + plane == both


def test_an_interrupted_run_goes_on_and_forgets_what_other_sources_said(command) -> None:
    hunted = []

    def interrupted(bug):
        if bug.name == "no-limit" and len(hunted) < 2:
            hunted.append("interrupted")
            raise KeyboardInterrupt
        hunted.append(bug.name)
        return hunt(bug)

    command.setattr(__main__, "hunt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        __main__.main([])
    assert __main__.main([]) == 0
    assert hunted == ["limit-too-high", "interrupted", "no-limit"]
    hunted.clear()
    with pytest.raises(KeyboardInterrupt):
        __main__.main([])
    command.setattr(__main__, "fingerprint", lambda: "other sources")
    assert __main__.main([]) == 0
    assert hunted == ["limit-too-high", "interrupted", "limit-too-high", "no-limit"]
