"""Users by the image's own databases."""

import pytest

from agent.runtime.users import Identity, resolve
from pyswarm.errors import InvalidArgument

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment:x:9:9::
app:x:1000:100:App:/home/app:/bin/sh
broken line
"""
GROUP = """\
root:x:0:
users:x:100:
audio:x:29:app,other
disk:x:6:root
"""


@pytest.mark.parametrize(
    ("user", "groups", "identity"),
    [
        ("", (), Identity(0, 0, (0, 6))),
        ("app", (), Identity(1000, 100, (29, 100))),
        ("1000", (), Identity(1000, 100, (29, 100))),
        ("4242", (), Identity(4242, 0, (0,))),
        ("app:disk", (), Identity(1000, 6, (6,))),
        ("app:77", (), Identity(1000, 77, (77,))),
        ("app", ("disk", "55"), Identity(1000, 100, (6, 29, 55, 100))),
    ],
)
def test_a_user_is_found_by_name_and_number(user, groups, identity):
    assert resolve(user, groups, PASSWD, GROUP) == identity


@pytest.mark.parametrize("user", ["stranger", "app:strangers", "4294967295", "-1"])
def test_who_is_not_in_the_image_is_refused(user):
    with pytest.raises(InvalidArgument):
        resolve(user, (), PASSWD, GROUP)


def test_an_image_without_databases_knows_root_and_numbers():
    assert resolve("", (), "", "") == Identity(0, 0, (0,))
    assert resolve("7:8", (), "", "") == Identity(7, 8, (8,))
