from agent.assignments import AssignmentNews, Assignments
from agent.dependencies import missing
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    RegistryCredential,
    Secret,
    Task,
    TaskSpec,
)

A, B = Task(id="a"), Task(id="b")


def test_a_complete_message_replaces_everything():
    known = Assignments()
    known.apply(AssignmentNews(complete=True, results_in=1, tasks=(A,), secrets=(Secret(id="s"),)))
    change = known.apply(AssignmentNews(complete=True, results_in=1, tasks=(B,)))
    assert change is not None
    assert (change.tasks, change.removed) == ((B,), ("a",))
    assert known.tasks == {"b": B}
    assert known.secrets == {}
    known.check()


def test_an_incremental_message_changes_what_it_names():
    known = Assignments()
    known.apply(AssignmentNews(complete=True, results_in=1, tasks=(A,)))
    news = AssignmentNews(
        complete=False, applies_to=1, results_in=2, tasks=(B,), removed_tasks=("a", "unknown")
    )
    change = known.apply(news)
    assert change is not None
    assert change.removed == ("a",)
    assert sorted(known.tasks) == ["b"]


def test_a_gap_is_noticed_and_changes_nothing():
    known = Assignments()
    known.apply(AssignmentNews(complete=True, results_in=1, tasks=(A,)))
    assert known.apply(AssignmentNews(complete=False, applies_to=2, results_in=3)) is None
    assert sorted(known.tasks) == ["a"]


def test_a_task_waits_for_each_secret_and_config():
    container = ContainerSpec(
        secrets=(FileReference(id="s", name="password"),),
        configs=(FileReference(id="c", name="site"),),
    )
    task = Task(id="t", spec=TaskSpec(container=container))
    assert missing(task, {}, {}) == ("config site", "secret password")
    assert missing(task, {"s": Secret(id="s")}, {"c": Config(id="c")}) == ()
    assert missing(A, {}, {}) == ()


def test_a_task_whose_secrets_are_still_in_memory_waits_for_its_configs_only():
    secrets = (FileReference(id="s", name="password"),)
    held = Task(id="t", spec=TaskSpec(container=ContainerSpec(secrets=secrets)))
    assert missing(held, {}, {}, held={"t"}) == ()
    configs = (FileReference(id="c", name="site"),)
    both = Task(id="t", spec=TaskSpec(container=ContainerSpec(secrets=secrets, configs=configs)))
    assert missing(both, {}, {}, held={"t"}) == ("config site",)


def test_logins_come_and_go_with_the_messages():
    known, login = Assignments(), RegistryCredential(id="c", server="registry:5000")
    known.apply(AssignmentNews(complete=True, results_in=1, credentials=(login,)))
    assert known.credentials == {"c": login}
    known.apply(
        AssignmentNews(complete=False, applies_to=1, results_in=2, removed_credentials=("c",))
    )
    assert known.credentials == {}
    known.check()
