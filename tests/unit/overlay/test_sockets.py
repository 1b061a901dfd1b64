"""What /proc/net/tcp says of connections that their program has closed."""

from overlay.sockets import is_sending

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def line(state):
    return f"   0: 0B01000A:0050 0201000A:9C40 {state} 00000A00:00000000 01:00000014 00000000 0\n"


def test_only_a_closed_connection_that_is_not_acknowledged_has_something_to_send():
    assert not is_sending(HEAD)
    assert not is_sending("")
    idle = ("01", "05", "06", "08", "0A")  # established, FIN_WAIT2, TIME_WAIT, CLOSE_WAIT, LISTEN
    assert not is_sending(HEAD + "".join(map(line, idle)))
    for state in ("04", "09", "0B"):
        assert is_sending(HEAD + line("0A") + line(state))
