import json

from agent.runtime.logreader import JOINED_BYTES_MAX, Joiner


def entry(text, stream="stdout"):
    time = "2023-11-14T22:13:20.250000Z"
    return json.dumps({"log": text, "stream": stream, "time": time}).encode()


def feed(*entries):
    joiner = Joiner()
    lines = [line for line in map(joiner.feed, entries) if line is not None]
    return [(line.data, line.stderr) for line in [*lines, *joiner.end()]]


def test_an_entry_is_a_line_with_its_time():
    line = Joiner().feed(entry("hello\n"))
    assert (line.data, line.stderr, line.timestamp) == (b"hello", False, 1_700_000_000.25)


def test_pieces_of_a_line_are_put_together_for_each_stream():
    assert feed(entry("a"), entry("x", "stderr"), entry("b\n"), entry("y\n", "stderr")) == [
        (b"ab", False),
        (b"xy", True),
    ]


def test_what_has_no_end_comes_at_the_end():
    assert feed(entry("a\n"), entry("rest")) == [(b"a", False), (b"rest", False)]


def test_a_line_is_bounded():
    piece = "x" * (16 * 1024)
    lines = feed(*[entry(piece)] * 40)
    assert max(len(data) for data, _ in lines) <= JOINED_BYTES_MAX
    assert sum(len(data) for data, _ in lines) == 40 * len(piece)


def test_entries_torn_by_a_power_cut_are_left_out():
    torn = [b'{"log":"ha', b"\0\0", b"[]", b"{}", b'{"log":"x","stream":"stdout","time":"no"}']
    assert feed(entry("a\n"), *torn, entry("b\n")) == [(b"a", False), (b"b", False)]


def test_a_damaged_entry_breaks_nothing():
    assert feed(b'{"log":"a', b"[]", b'"text"', entry("b\n")) == [(b"b", False)]
