"""A node hears of what is its own, and of each change once."""

from dataclasses import replace

from manager.dispatcher.assignments import (
    NodeAssignments,
    Sent,
    diff,
    is_for_node,
    may_run,
    pull_credentials,
    references,
)
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    Meta,
    RegistryCredential,
    Secret,
    Task,
    TaskSpec,
    TaskState,
    TaskStatus,
)

CONTAINER = ContainerSpec(secrets=(FileReference(id="s"),), configs=(FileReference(id="c"),))


def task(state=TaskState.ASSIGNED, desired=TaskState.RUNNING):
    return Task(
        id="t",
        spec=TaskSpec(container=CONTAINER),
        status=TaskStatus(state=state),
        desired_state=desired,
    )


def wanted(*tasks):
    return NodeAssignments(
        tasks={t.id: t for t in tasks},
        secrets={"s": Secret(id="s", meta=Meta(version=1))},
        configs={"c": Config(id="c", meta=Meta(version=1))},
    )


def test_the_first_diff_is_everything_and_the_second_is_nothing():
    sent = Sent()
    first = diff(sent, wanted(task()))
    assert [t.id for t in first.tasks] == ["t"]
    assert [s.id for s in first.secrets] == ["s"]
    assert not diff(sent, wanted(task()))


def test_a_status_that_the_agent_wrote_is_no_news_to_it():
    sent = Sent()
    diff(sent, wanted(task()))
    assert not diff(sent, wanted(task(state=TaskState.RUNNING)))


def test_a_changed_desired_state_is_sent():
    sent = Sent()
    diff(sent, wanted(task()))
    assert [t.id for t in diff(sent, wanted(task(desired=TaskState.SHUTDOWN))).tasks] == ["t"]


def test_a_secret_that_changed_is_sent_again():
    sent = Sent()
    before = wanted(task())
    diff(sent, before)
    after = replace(before, secrets={"s": Secret(id="s", meta=Meta(version=2))})
    assert [s.meta.version for s in diff(sent, after).secrets] == [2]


def test_what_is_gone_is_taken_back():
    sent = Sent()
    diff(sent, wanted(task()))
    news = diff(sent, NodeAssignments())
    assert (news.removed_tasks, news.removed_secrets, news.removed_configs) == (
        ("t",),
        ("s",),
        ("c",),
    )


def test_a_task_that_is_not_placed_is_for_no_node():
    assert not is_for_node(task(state=TaskState.PENDING))
    assert is_for_node(task(state=TaskState.FAILED))


def test_a_task_that_ended_or_shall_end_needs_no_secrets():
    assert references([task()]) == ({"s"}, {"c"})
    assert references([task(state=TaskState.FAILED)]) == (set(), set())
    assert references([task(desired=TaskState.SHUTDOWN)]) == (set(), set())
    assert may_run(task(state=TaskState.RUNNING))


OURS = RegistryCredential(id="ours", server="registry:5000", user="all")
OWN = RegistryCredential(id="own", server="registry:5000", user="web", service_id="s1")


def pulling(image, state=TaskState.ASSIGNED, service="s2", desired=TaskState.RUNNING):
    return Task(
        id="t",
        service_id=service,
        spec=TaskSpec(container=ContainerSpec(image=image)),
        status=TaskStatus(state=state),
        desired_state=desired,
    )


def test_a_node_gets_the_login_of_a_registry_while_it_pulls_from_there():
    for state in (TaskState.ASSIGNED, TaskState.ACCEPTED, TaskState.PREPARING):
        assert pull_credentials([pulling("registry:5000/web:1", state)], [OURS]) == {"ours": OURS}
    for state in (TaskState.READY, TaskState.RUNNING, TaskState.FAILED):
        assert not pull_credentials([pulling("registry:5000/web:1", state)], [OURS])
    stopped = pulling("registry:5000/web:1", desired=TaskState.SHUTDOWN)
    assert not pull_credentials([stopped, pulling("busybox")], [OURS, OWN])


def test_a_service_with_a_login_of_its_own_gets_that_one_alone():
    own = pulling("registry:5000/web:1", service="s1")
    assert pull_credentials([own], [OURS, OWN]) == {"own": OWN}


def test_a_login_goes_once_again_after_a_change_and_is_taken_back_at_the_end():
    sent = Sent()
    first = NodeAssignments(credentials={"ours": OURS})
    assert diff(sent, first).credentials == (OURS,)
    assert not diff(sent, first)
    newer = RegistryCredential(id="ours", meta=Meta(version=7), server="registry:5000")
    assert diff(sent, NodeAssignments(credentials={"ours": newer})).credentials == (newer,)
    assert diff(sent, NodeAssignments()).removed_credentials == ("ours",)
