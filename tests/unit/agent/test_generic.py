from agent.generic import with_resources
from pyswarm.model import ContainerSpec, GenericResource, Task


def test_a_program_is_told_what_it_was_given():
    task = Task(
        generic_resources=(
            GenericResource(kind="gpu", value="UUID1"),
            GenericResource(kind="gpu", value="UUID2"),
            GenericResource(kind="SSD", count=3),
        )
    )
    container = with_resources(ContainerSpec(env=("A=1", "DOCKER_RESOURCE_GPU=mine")), task)
    assert container.env == (
        "A=1",
        "DOCKER_RESOURCE_GPU=mine",
        "DOCKER_RESOURCE_GPU=UUID1,UUID2",
        "DOCKER_RESOURCE_SSD=3",
    )


def test_a_task_that_was_given_nothing_is_as_it_was():
    container = ContainerSpec(env=("A=1",))
    assert with_resources(container, Task()) is container
