"""From what is wanted and what is there to steps in order."""

from dataclasses import replace

import pytest

from pyswarm.compose.marked import ComposeError
from pyswarm.compose.plan import Action, Existing, Kind, plan, removal
from pyswarm.compose.stack import IMAGE_LABEL, NAMESPACE_LABEL, Stack
from pyswarm.model import (
    Config,
    ContainerSpec,
    FileReference,
    Meta,
    Network,
    NetworkAttachmentConfig,
    NetworkSpec,
    PayloadSpec,
    Secret,
    Service,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
)

LABELS = {NAMESPACE_LABEL: "shop"}
WEB = ServiceSpec(
    name="shop_web",
    labels={**LABELS, IMAGE_LABEL: "nginx"},
    task=TaskSpec(
        container=ContainerSpec(
            image="nginx", secrets=(FileReference(name="shop_pw", target="pw"),)
        ),
        networks=(NetworkAttachmentConfig(target="shop_net", aliases=("web",)),),
    ),
)
NET = NetworkSpec(name="shop_net", labels=LABELS)
PASSWORD = PayloadSpec(name="shop_pw", labels=LABELS, data=b"pw")
SITE = PayloadSpec(name="shop_site", labels=LABELS, data=b"site")
STACK = Stack(name="shop", networks=(NET,), secrets=(PASSWORD,), configs=(SITE,), services=(WEB,))


def stored_web(**changes):
    """The service as the managers keep it: with ids in place of names."""
    container = replace(
        WEB.task.container, secrets=(FileReference(name="shop_pw", target="pw", id="s1"),)
    )
    networks = (NetworkAttachmentConfig(target="n1", aliases=("web",)),)
    task = replace(WEB.task, container=container, networks=networks, **changes.pop("task", {}))
    spec = replace(WEB, task=task, **changes.pop("spec", {}))
    return Service(id="w1", meta=Meta(version=7), spec=spec, **changes)


def everything(**changes):
    existing = Existing(
        networks=(Network(id="n1", spec=NET, subnet="10.0.1.0/24"),),
        secrets=(Secret(id="s1", spec=replace(PASSWORD, data=b"")),),
        configs=(Config(id="c1", spec=SITE),),
        services=(stored_web(),),
    )
    return replace(existing, **changes)


def sentences(found):
    return [step.sentence for step in found.steps]


def refusal(wanted, existing):
    with pytest.raises(ComposeError) as caught:
        plan(wanted, existing)
    return caught.value.message


def test_a_new_stack_is_made_in_the_order_of_its_dependencies():
    assert sentences(plan(STACK, Existing())) == [
        "Creating network shop_net",
        "Creating secret shop_pw",
        "Creating config shop_site",
        "Creating service shop_web",
    ]


def test_a_second_deployment_changes_nothing_but_lets_the_managers_compare_secrets():
    found = plan(STACK, everything())
    assert sentences(found) == ["Updating secret shop_pw (id: s1)"]
    assert found.unchanged == ("shop_web",)
    assert found.warnings == ()


def test_a_changed_service_is_updated():
    wanted = replace(STACK, services=(replace(WEB, replicas=3),))
    (step,) = [s for s in plan(wanted, everything()).steps if s.kind.name == "SERVICE"]
    assert (step.id, step.sentence) == ("w1", "Updating service shop_web (id: w1)")
    assert step.spec.replicas == 3


def test_a_forced_update_and_a_known_digest_survive():
    container = replace(stored_web().spec.task.container, image="nginx@sha256:abc")
    service = stored_web(task={"force_update": 2})
    service = replace(
        service,
        spec=replace(service.spec, task=replace(service.spec.task, container=container)),
    )
    assert plan(STACK, everything(services=(service,))).unchanged == ("shop_web",)


def test_only_pruning_removes_and_services_go_before_what_they_use():
    old = replace(stored_web(), id="w2", spec=replace(WEB, name="shop_old"))
    foreign = Service(id="w3", spec=replace(WEB, name="x", labels={NAMESPACE_LABEL: "other"}))
    leaving = replace(old, id="w4", pending_delete=True, spec=replace(WEB, name="shop_gone"))
    existing = everything(
        services=(stored_web(), old, foreign, leaving),
        configs=(Config(id="c1", spec=SITE), Config(id="c2", spec=replace(SITE, name="shop_z"))),
        networks=(
            Network(id="n1", spec=NET),
            Network(id="n2", spec=replace(NET, name="shop_idle")),
        ),
    )
    assert [s for s in sentences(plan(STACK, existing)) if "Removing" in s] == []
    pruned = sentences(plan(STACK, existing, prune=True))
    assert pruned[0] == "Removing service shop_old"
    assert pruned[-2:] == ["Removing config shop_z", "Removing network shop_idle"]


def test_removing_a_stack_removes_all_that_it_has_and_nothing_else():
    other = Network(id="n9", spec=NetworkSpec(name="other"))
    existing = everything()
    found = removal("shop", replace(existing, networks=(*existing.networks, other)))
    assert sentences(found) == [
        "Removing service shop_web",
        "Removing secret shop_pw",
        "Removing config shop_site",
        "Removing network shop_net",
    ]
    assert removal("nope", existing).steps == ()


def test_other_content_under_the_same_name_is_a_rotation():
    changed = replace(STACK, configs=(replace(SITE, data=b"new"),))
    steps = [s for s in plan(changed, everything()).steps if s.kind == Kind.CONFIG]
    assert [(s.action, s.id, s.spec.data) for s in steps] == [(Action.ROTATE, "c1", b"new")]


def test_other_labels_on_the_same_content_are_an_update():
    labelled = replace(SITE, labels={**LABELS, "a": "b"})
    found = plan(replace(STACK, configs=(labelled,)), everything())
    assert "Updating config shop_site (id: c1)" in sentences(found)


def test_a_network_that_differs_stays_and_is_warned_of():
    found = plan(replace(STACK, networks=(replace(NET, internal=True),)), everything())
    assert "the network shop_net stays as it is" in found.warnings[0]


def test_external_objects_must_be_there():
    wanted = replace(STACK, external_networks=("shared",), external_secrets=("key",))
    assert refusal(wanted, everything()).splitlines() == [
        "the network 'shared' is declared external and does not exist: "
        "make it first with network create",
        "the secret 'key' is declared external and does not exist: "
        "make it first with secret create",
    ]


def test_objects_of_others_are_not_taken_over():
    foreign = everything(
        networks=(Network(id="n1", spec=replace(NET, labels={})),),
        services=(replace(stored_web(), spec=replace(stored_web().spec, labels={})),),
    )
    assert refusal(STACK, foreign).count("does not belong to the stack shop") == 2


def test_what_a_service_cannot_become_is_refused_before_anything_is_done():
    wanted = replace(STACK, services=(replace(WEB, mode=ServiceMode.GLOBAL),))
    assert "is replicated and cannot become global" in refusal(wanted, everything())
    leaving = everything(services=(replace(stored_web(), pending_delete=True),))
    assert "is still being removed" in refusal(STACK, leaving)
