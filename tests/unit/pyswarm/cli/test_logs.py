from pyswarm.cli.logs import details
from pyswarm.model import ContainerSpec, Task, TaskSpec


def task(**options):
    container = ContainerSpec(
        labels={"tier": "front", "team": "shop"}, env=("MODE=live", "KEY=a=b", "OTHER=1")
    )
    return Task(spec=TaskSpec(container=container, log_options=options))


def test_details_are_what_the_log_options_name():
    assert details(task()) == ""
    assert details(task(labels="tier,none", env="MODE,KEY")) == "KEY=a=b,MODE=live,tier=front"
