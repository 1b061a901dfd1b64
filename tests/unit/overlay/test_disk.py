import pytest

from overlay.desired import Attached, Head, Leg
from overlay.disk import Memory, MemoryFile
from pyswarm.errors import DataLoss
from pyswarm.model import PortConfig, Protocol

LEG = Leg(task_id="t", network_id="n", device="eth0", address="10.0.0.3", exit=True)
PORT = PortConfig(published_port=53, target_port=5353, protocol=Protocol.UDP)
FULL = Memory(
    local_subnet="172.18.0.0/16",
    ip_forward="0",
    heads={"n": Head(vni=4097, mtu_bytes=1450, egress=True)},
    attached={"t": Attached(task_id="t", legs=(LEG,), host_ports=(PORT,))},
)


def test_what_was_saved_is_loaded(tmp_path):
    MemoryFile(tmp_path / "new").save(FULL)
    assert MemoryFile(tmp_path / "new").load() == FULL


def test_nothing_is_remembered_at_first_and_after_removal(tmp_path):
    file = MemoryFile(tmp_path)
    assert file.load() == Memory()
    file.save(FULL)
    file.remove()
    assert file.load() == Memory()


def test_another_format_is_forgotten(tmp_path):
    (tmp_path / "overlay.json").write_text('{"format": 0}')
    assert MemoryFile(tmp_path).load() == Memory()


@pytest.mark.parametrize("text", ["", "{", "{}", '{"format": 1}', "[]"])
def test_a_damaged_file_is_told_by_name(tmp_path, text):
    (tmp_path / "overlay.json").write_text(text)
    with pytest.raises(DataLoss, match=r"overlay\.json cannot be read"):
        MemoryFile(tmp_path).load()
