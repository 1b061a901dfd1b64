from pyswarm.api.v1 import control_pb2
from pyswarm.cli.logs import GAP_SECONDS, Follower, details
from pyswarm.model import ContainerSpec, Task, TaskSpec


def task(**options):
    container = ContainerSpec(
        labels={"tier": "front", "team": "shop"}, env=("MODE=live", "KEY=a=b", "OTHER=1")
    )
    return Task(spec=TaskSpec(container=container, log_options=options))


def test_details_are_what_the_log_options_name():
    assert details(task()) == ""
    assert details(task(labels="tier,none", env="MODE,KEY")) == "KEY=a=b,MODE=live,tier=front"
    assert details(task(**{"labels-regex": "^ti", "env-regex": "^M"})) == "MODE=live,tier=front"


def shown(follower, *lines):
    """Those of the lines ("task", time) that are shown."""
    return [
        each
        for each in lines
        if follower.is_new(control_pb2.LogLine(task_id=each[0], timestamp=each[1]))
    ]


def test_who_follows_goes_on_behind_the_last_line_of_each_task():
    request = control_pb2.LogsRequest(follow=True, tail=2)
    follower = Follower(request, begun=100.0)
    first = [("a", 90.0), ("b", 91.0), ("a", 92.0), ("a", 92.0)]
    assert shown(follower, *first) == first
    follower.resume()
    assert (request.tail, request.since) == (-1, 91.0 - GAP_SECONDS)
    # Older lines that the tail left out, and what was shown; "c" wrote its first line in the gap.
    again = [("a", 88.0), *first, ("a", 92.0), ("c", 90.5), ("b", 93.0)]
    assert shown(follower, *again) == [("a", 92.0), ("c", 90.5), ("b", 93.0)]


def test_without_a_tail_nothing_older_than_the_command_comes_and_nothing_newer_is_lost():
    request = control_pb2.LogsRequest(follow=True, tail=0)
    follower = Follower(request, begun=100.0)
    follower.resume()
    assert (request.tail, request.since) == (-1, 100.0)
    assert shown(follower, ("a", 101.0)) == [("a", 101.0)]
    follower.resume()
    assert request.since == 100.0


def test_where_nothing_was_shown_the_same_is_asked_for_again():
    request = control_pb2.LogsRequest(follow=True, tail=3, since=50.0)
    Follower(request, begun=100.0).resume()
    assert (request.tail, request.since) == (3, 50.0)
