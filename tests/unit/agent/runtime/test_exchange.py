"""What is mounted, and how a new mount is to be; the exchange itself is in tests/containerd."""

import os
import struct

from agent.runtime.exchange import mount_attributes, mounted_names

TABLE = rb"""
21 1 0:19 / / rw,relatime - overlay overlay rw
22 21 0:24 /run/tasks/t/configs/single/0 /etc/site.conf ro,relatime - tmpfs tmpfs rw
23 22 0:24 /single/.0.77 /etc/a\040b ro - tmpfs tmpfs rw
24 21 0:24 /single/.1.78//deleted /etc/key ro - tmpfs tmpfs rw
""".strip()


def test_names_of_what_is_mounted_are_those_of_the_files_also_of_removed_ones():
    assert mounted_names(TABLE) == {"", "0", ".0.77", ".1.78"}


def test_a_new_mount_has_the_access_flags_of_the_old_one_and_no_others():
    flags = os.ST_RDONLY | os.ST_NODEV | os.ST_RELATIME
    found = struct.unpack("=QQQQ", mount_attributes(flags))
    # MOUNT_ATTR_RDONLY and _NODEV on, _NOSUID and _NOEXEC off, MS_PRIVATE.
    assert found == (0x1 | 0x4, 0x2 | 0x8, 0x40000, 0)
