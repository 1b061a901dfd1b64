"""The names that follow from an endpoint set."""

from dataclasses import replace

from overlay.zone import SERVICE_TTL_SECONDS, TASK_TTL_SECONDS, Answer, build, look_up, point
from pyswarm.model import (
    EndpointSet,
    EndpointState,
    ResolutionMode,
    ServiceEndpoint,
    TaskEndpoint,
)

API = ServiceEndpoint(service_id="s1", name="shop_api", aliases=("api",), virtual_ip="10.0.1.2")
DB = ServiceEndpoint(service_id="s2", name="Shop_DB", aliases=("db",), mode=ResolutionMode.DNSRR)


def task(task_id, service_id, last, **more):
    return TaskEndpoint(
        task_id=task_id,
        service_id=service_id,
        node_id="n1",
        slot=1,
        address=f"10.0.1.{last}",
        **{"ready": True, **more},
    )


SET = EndpointSet(
    network_id="net1",
    network_name="Shop_default",
    version=7,
    subnet="10.0.1.0/24",
    services=(API, DB),
    tasks=(
        task("t1", "s1", 11, aliases=("api",)),
        task("t2", "s1", 12, aliases=("api", "api-2")),
        task("t3", "s2", 13),
        task("t4", "s2", 14),
    ),
)
VIP = Answer(("10.0.1.2",), SERVICE_TTL_SECONDS)


def found(name, endpoints=SET, dead=()):
    return look_up([build(endpoints, dead)], name)


def of_tasks(*lasts):
    return Answer(tuple(f"10.0.1.{last}" for last in lasts), TASK_TTL_SECONDS)


def test_a_service_and_its_alias_lead_to_its_virtual_address():
    assert found("shop_api") == VIP
    assert found("api") == VIP


def test_without_virtual_address_a_service_leads_to_its_ready_tasks():
    assert found("shop_db") == of_tasks(13, 14)
    assert found("db") == of_tasks(13, 14)


def test_tasks_dot_name_leads_to_the_ready_tasks_of_every_service():
    assert found("tasks.shop_api") == of_tasks(11, 12)
    assert found("tasks.shop_db") == of_tasks(13, 14)
    assert found("tasks.api") == of_tasks(11, 12)


def test_every_name_also_ends_in_the_name_of_the_network():
    assert found("shop_api.shop_default") == VIP
    assert found("api.shop_default") == VIP
    assert found("tasks.shop_db.shop_default") == of_tasks(13, 14)
    assert found("shop_api.other") is None
    assert found("shop_default") is None


def test_a_task_has_names_of_its_own():
    assert found("api-2") == of_tasks(12)
    assert found("shop_db.1.t3") == of_tasks(13)


def test_tasks_that_take_no_connections_are_left_out():
    t1, t2, t3, t4 = SET.tasks
    changed = replace(
        SET,
        tasks=(
            replace(t1, state=EndpointState.DRAINING),
            t2,
            replace(t3, ready=False),
            replace(t4, ready=False),
        ),
    )
    assert found("tasks.shop_api", changed) == of_tasks(12)
    assert found("shop_db", changed) == of_tasks(), "the name exists, so nobody asks outside"


def test_dead_tasks_are_left_out_at_once():
    assert found("tasks.shop_api", dead={"t1"}) == of_tasks(12)
    assert found("db", dead={"t3"}) == of_tasks(14)
    assert found("api-2", dead={"t2"}) is None


def test_a_virtual_address_outlives_its_tasks():
    empty = replace(SET, tasks=())
    assert found("api", empty) == VIP
    assert found("tasks.shop_api", empty) == of_tasks()


def test_an_alias_may_lead_to_several_services():
    other = ServiceEndpoint(service_id="s3", name="new", aliases=("api",), virtual_ip="10.0.1.3")
    changed = replace(SET, services=(API, DB, other))
    assert found("api", changed) == Answer(("10.0.1.2", "10.0.1.3"), SERVICE_TTL_SECONDS)


def test_nobodys_alias_takes_calls_away_from_a_service():
    thief = ServiceEndpoint(
        service_id="s0", name="x", aliases=("shop_api", "tasks.shop_api"), virtual_ip="10.0.1.9"
    )
    intruder = task("t9", "s0", 99, aliases=("shop_db",))
    changed = replace(SET, services=(thief, API, DB), tasks=(*SET.tasks, intruder))
    assert found("shop_api", changed) == VIP
    assert found("tasks.shop_api", changed) == of_tasks(11, 12)
    assert found("shop_db", changed) == of_tasks(13, 14)


def test_publishing_a_port_shows_nobodys_name_in_the_ingress_network():
    zone = build(replace(SET, ingress=True), ())
    assert (zone.names, zone.pointers) == ({}, {})


def test_the_first_network_that_has_an_address_answers():
    other = replace(
        SET,
        network_name="other",
        services=(replace(API, virtual_ip="10.0.2.2"), replace(DB, virtual_ip="")),
        tasks=(),
    )
    first, second = build(other, ()), build(SET, ())
    assert look_up([first, second], "api") == Answer(("10.0.2.2",), SERVICE_TTL_SECONDS)
    assert look_up([second, first], "api") == VIP
    assert look_up([first, second], "shop_db") == of_tasks(13, 14)
    assert look_up([first], "shop_db") == of_tasks()
    assert look_up([first, second], "api.shop_default") == VIP
    assert look_up([], "api") is None


def test_addresses_lead_back_to_names():
    zone = build(SET, {"t4"})
    assert point([zone], "2.1.0.10.in-addr.arpa") == "shop_api.Shop_default"
    assert point([zone], "11.1.0.10.in-addr.arpa") == "shop_api.1.t1.Shop_default"
    assert point([zone], "14.1.0.10.in-addr.arpa") is None
