"""`service inspect --pretty` in Docker's words."""

import pytest

from pyswarm.cli.render import go_duration
from pyswarm.cli.service_pretty import service_text
from pyswarm.model import (
    ContainerSpec,
    EndpointSpec,
    FailureAction,
    JobState,
    JobStatus,
    PortConfig,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
    UpdateState,
    UpdateStatus,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (5, "5s"), (0.25, "250ms"), (90, "1m30s"), (600, "10m0s"), (7200, "2h0m0s")],
)
def test_durations_are_gos(seconds, text):
    assert go_duration(seconds) == text


def test_a_service_says_how_it_is_updated_and_how_that_stands():
    service = Service(
        id="abc",
        spec=ServiceSpec(
            name="web",
            labels={"b": "2", "a": "1"},
            replicas=3,
            task=TaskSpec(container=ContainerSpec(image="nginx:1@sha256:00", env=("A=1\x1b",))),
            update=UpdateConfig(failure_action=FailureAction.ROLLBACK, delay_seconds=10),
            endpoint=EndpointSpec(ports=(PortConfig(target_port=80, published_port=8080),)),
        ),
        update_status=UpdateStatus(
            state=UpdateState.ROLLBACK_COMPLETED,
            started_at=1.0,
            completed_at=2.0,
            message="rollback completed",
        ),
        revision=4,
    )
    assert service_text(service, now=302.0) == (
        "ID:\t\tabc\n"
        "Name:\t\tweb\n"
        "Labels:\n"
        " a=1\n"
        " b=2\n"
        "Service Mode:\tReplicated\n"
        " Replicas:\t3\n"
        "UpdateStatus:\n"
        " State:\t\trollback_completed\n"
        " Started:\t5 minutes ago\n"
        " Completed:\t5 minutes ago\n"
        " Message:\trollback completed\n"
        "Revision:\t4\n"
        "Placement:\n"
        "UpdateConfig:\n"
        " Parallelism:\t1\n"
        " Delay:\t\t10s\n"
        " On failure:\trollback\n"
        " Monitoring Period: 5s\n"
        " Max failure ratio: 0\n"
        " Update order:      stop-first\n"
        " Progress deadline: 10m0s\n"
        "RollbackConfig:\n"
        " Parallelism:\t1\n"
        " On failure:\tpause\n"
        " Monitoring Period: 5s\n"
        " Max failure ratio: 0\n"
        " Rollback order:      stop-first\n"
        " Progress deadline: 10m0s\n"
        "ContainerSpec:\n"
        " Image:\t\tnginx:1\n"
        " Init:\t\tfalse\n"
        " Env:\t\tA=1\N{REPLACEMENT CHARACTER}\n"
        "Resources:\n"
        "Endpoint Mode:\tvip\n"
        "Ports:\n"
        " PublishedPort = 8080\n"
        "  Protocol = tcp\n"
        "  TargetPort = 80\n"
        "  PublishMode = ingress\n"
    )


def test_a_global_service_has_no_replicas():
    text = service_text(Service(id="g", spec=ServiceSpec(name="g", mode=ServiceMode.GLOBAL)))
    assert "Service Mode:\tGlobal\nPlacement:\n" in text


def test_a_job_says_how_much_it_shall_do_and_how_it_stands():
    service = Service(
        spec=ServiceSpec(name="sum", mode=ServiceMode.REPLICATED_JOB, replicas=5, max_concurrent=2),
        job_status=JobStatus(state=JobState.FAILED, message="task 3 failed"),
    )
    assert (
        "Service Mode:\tReplicated Job\n"
        " Total Completions:\t5\n"
        " Max Concurrent:\t2\n"
        " Job State:\tfailed (task 3 failed)\n"
    ) in service_text(service)
