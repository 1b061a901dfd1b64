"""What is added, dropped and possible."""

import pytest

from agent.runtime.capabilities import ALL, DEFAULT, from_mask, resolve
from pyswarm.errors import FailedPrecondition, InvalidArgument


def test_the_default_is_dockers_fourteen():
    assert len(DEFAULT) == 14
    assert from_mask(0xA80425FB) == set(DEFAULT)
    assert resolve((), (), None) == DEFAULT


def test_names_are_read_with_and_without_prefix():
    assert "CAP_NET_ADMIN" in resolve(("net_admin",), (), None)
    assert "CAP_CHOWN" not in resolve((), ("CAP_CHOWN",), None)
    with pytest.raises(InvalidArgument, match='"FLY" is no capability'):
        resolve(("FLY",), (), None)


def test_all_can_be_dropped_and_one_added():
    assert resolve(("CHOWN",), ("ALL",), None) == ("CAP_CHOWN",)


def test_all_adds_what_is_possible_and_a_name_must_be():
    possible = frozenset(ALL) - {"CAP_SYS_RESOURCE"}
    assert set(resolve(("ALL",), (), possible)) == possible
    assert set(resolve(("ALL",), ("KILL",), possible)) == possible - {"CAP_KILL"}
    with pytest.raises(FailedPrecondition, match="cannot give a container CAP_SYS_RESOURCE"):
        resolve(("SYS_RESOURCE",), (), possible)
