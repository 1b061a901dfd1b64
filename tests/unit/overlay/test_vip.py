import re

from hypothesis import given
from hypothesis import strategies as st

from overlay import vip

ADDRESSES = st.sampled_from([f"10.0.0.{n}" for n in range(10, 18)])
STATES = st.dictionaries(
    st.sampled_from(["10.0.0.2", "10.0.0.3", "10.0.0.4"]),
    st.lists(ADDRESSES, min_size=1, max_size=6, unique=True).map(tuple),
)


class Maps:
    """The maps as nft keeps them: adding twice or deleting what is not there is an error."""

    def __init__(self):
        self.maps = {"vips": {}, "backends": {}, "hairpin": {}}

    def run(self, commands):
        for command in commands:
            verb, name, text = re.fullmatch(
                r"(add|delete) element ip pyswarm (\w+) \{ (.*) \}", command
            ).groups()
            for item in text.split(", "):
                key, _, value = item.partition(" : ")
                if verb == "add":
                    assert key not in self.maps[name], command
                    self.maps[name][key] = value
                else:
                    assert self.maps[name].pop(key) == value, command


def content(state):
    return {
        "vips": {v: f"goto lb_{len(members)}" for v, members in state.items()},
        "backends": {
            f"{v} . {i}": a for v, members in state.items() for i, a in enumerate(members)
        },
        "hairpin": {},
    }


@given(STATES, STATES)
def test_changes_lead_from_any_state_to_any_other(old, new):
    kernel = Maps()
    kernel.run(vip.changes({}, old))
    kernel.run(vip.changes(old, new))
    assert kernel.maps == content(new)


def test_nothing_changes_without_a_difference():
    state = {"10.0.0.2": ("10.0.0.10",)}
    assert vip.changes(state, dict(state)) == []
    assert vip.hairpins(["10.0.0.10"], {"10.0.0.10"}) == []


def test_a_backend_more_touches_one_element_of_each_map():
    old = {"10.0.0.2": ("10.0.0.10",), "10.0.0.3": ("10.0.0.11",)}
    new = {**old, "10.0.0.2": ("10.0.0.10", "10.0.0.12")}
    assert vip.changes(old, new) == [
        "delete element ip pyswarm vips { 10.0.0.2 : goto lb_1 }",
        "add element ip pyswarm backends { 10.0.0.2 . 1 : 10.0.0.12 }",
        "add element ip pyswarm vips { 10.0.0.2 : goto lb_2 }",
    ]


def test_chains_are_made_in_doublings():
    assert [vip.chains_for(n) for n in (0, 32, 33, 200)] == [32, 32, 64, 256]
    assert "lb_2 dnat ip to ip daddr . numgen random mod 2 map @backends" in vip.chains(2, 3)[2]
