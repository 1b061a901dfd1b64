"""DNS messages, against the paragraphs of RFC 1035 and RFC 6891."""

import struct

from hypothesis import example, given
from hypothesis import strategies as st

from overlay import dns

OPT = b"\0" + struct.pack(">HHIH", 41, 1400, 0, 0)


def wire(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def query(name, kind=dns.TYPE_A, *, more=b"", count=0, flags=0x0100, klass=1):
    head = struct.pack(">HHHHHH", 0x1234, flags, 1, 0, 0, count)
    return head + wire(name) + struct.pack(">HH", kind, klass) + more


def parsed(*arguments, **keywords):
    found = dns.parse(query(*arguments, **keywords))
    assert found is not None
    return found


def head(answer):
    return struct.unpack_from(">HHHHHH", answer)


def addresses(count):
    return [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(count)]


def test_a_name_is_matched_in_lower_case_and_echoed_as_it_came():
    asked = parsed("ShOp_Api")
    assert (asked.name, asked.type, asked.error) == ("shop_api", dns.TYPE_A, dns.NOERROR)
    answer = dns.answer_addresses(asked, ["10.0.1.2"], 30, 512)
    question = wire("ShOp_Api") + b"\0\1\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\x0a\0\1\2"
    assert answer == b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0" + question + record


def test_another_type_of_a_name_that_exists_has_an_empty_answer():
    for kind in (28, 15, 16, 33, 65):
        answer = dns.answer_addresses(parsed("web", kind), ["10.0.1.2"], 30, 512)
        assert head(answer)[1:4] == (0x8180, 1, 0)
    anything = dns.answer_addresses(parsed("web", 255), ["10.0.1.2"], 30, 512)
    assert head(anything)[3] == 1


def test_what_does_not_fit_is_left_out_and_the_answer_says_that_it_is_truncated():
    asked = parsed("tasks.web")
    answer = dns.answer_addresses(asked, addresses(400), 5, asked.size)
    assert len(answer) <= 512
    _, flags, _, count, _, _ = head(answer)
    assert flags & 0x0200
    assert 25 < count < 32, "an old resolver without TCP uses what came"


def test_over_tcp_the_answer_is_whole():
    answer = dns.answer_addresses(parsed("tasks.web"), addresses(400), 5, dns.SIZE_TCP)
    assert head(answer)[1] & 0x0200 == 0
    assert head(answer)[3] == 400


def test_the_size_in_edns_is_honoured_and_answered_with_our_own():
    asked = parsed("tasks.web", more=OPT, count=1)
    assert (asked.size, asked.edns) == (1400, True)
    answer = dns.answer_addresses(asked, addresses(400), 5, asked.size)
    assert 1380 < len(answer) <= 1400
    assert head(answer)[5] == 1
    assert answer.endswith(b"\0" + struct.pack(">HHIH", 41, dns.SIZE_OFFERED, 0, 0))


def test_a_size_in_edns_is_kept_between_512_and_4096():
    for offered, taken in ((0, 512), (100, 512), (65535, 4096)):
        opt = b"\0" + struct.pack(">HHIH", 41, offered, 0, 0)
        assert parsed("web", more=opt, count=1).size == taken


def test_a_record_before_the_edns_record_is_passed_over():
    other = b"\0" + struct.pack(">HHIH", 99, 0, 0, 3) + b"abc"
    assert parsed("web", more=other + OPT, count=2).size == 1400


def test_a_response_or_half_a_head_gets_no_answer():
    assert dns.parse(query("web", flags=0x8180)) is None
    assert dns.parse(query("web")[:11]) is None
    assert dns.parse(b"") is None


def test_a_malformed_question_is_told_so():
    compressed = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + b"\xc0\x0c\0\1\0\1"
    without_end = query("web")[:-6]
    two_questions = query("web")[:5] + b"\2" + query("web")[6:]
    too_long = query(".".join(["a" * 60] * 5))
    for bad in (compressed, without_end, two_questions, too_long):
        asked = dns.parse(bad)
        assert asked is not None
        assert asked.error == dns.FORMERR
        answer = dns.answer_error(asked, asked.error)
        assert head(answer) == (0x1234, 0x8180 | dns.FORMERR, 0, 0, 0, 0)


def test_other_operations_and_classes_are_not_implemented():
    assert parsed("web", flags=0x2800).error == dns.NOTIMP
    assert parsed("version.bind", 16, klass=3).error == dns.NOTIMP


def test_a_dot_inside_a_label_is_not_a_separator():
    data = query("x")[:12] + b"\x09tasks.web\0\0\1\0\1"
    asked = dns.parse(data)
    assert asked is not None
    assert asked.name == "tasks\\.web"


@given(st.binary(max_size=600))
@example(query("web", more=OPT[:5], count=1))
@example(b"\0\0\0\0\0\1\0\0\0\0\xff\xff" + b"\0\0\1\0\1" + b"\0" * 11 * 40)
def test_no_bytes_make_the_parser_raise(data):
    asked = dns.parse(data)
    if asked is not None:
        again = dns.answer_addresses(asked, addresses(50), 5, asked.size)
        assert len(again) <= max(asked.size, len(asked.question) + 23)
        assert again[:2] == data[:2]


@given(st.binary(max_size=300), st.integers(0, 12), st.binary(max_size=40))
def test_no_query_with_a_good_head_makes_the_parser_raise(tail, place, noise):
    data = query("tasks.web", more=OPT + tail, count=3)
    dns.parse(data[:place] + noise + data[place + len(noise) :])
    dns.parse(data[:12] + tail)


def test_an_answer_from_outside_needs_our_id_and_our_question():
    asked = parsed("Example.org")
    good = dns.with_id(dns.answer_addresses(asked, ["192.0.2.1"], 60, 512), 77)
    assert dns.is_answer(asked, good, 77)
    assert dns.is_answer(asked, good.replace(b"Example", b"example"), 77)
    assert not dns.is_answer(asked, good, 78)
    assert not dns.is_answer(asked, good.replace(b"Example", b"Exemple"), 77)
    assert not dns.is_answer(asked, dns.with_id(query("Example.org"), 77), 77), "not a response"
    assert not dns.is_answer(asked, good[:20], 77)


def test_an_answer_from_outside_that_is_too_large_sends_the_asker_to_tcp():
    asked = parsed("tasks.web")
    large = dns.answer_addresses(asked, addresses(400), 5, dns.SIZE_TCP)
    answer = dns.shortened(asked, large)
    assert head(answer) == (0x1234, 0x8380, 1, 0, 0, 0)
    small = dns.answer_addresses(asked, addresses(2), 5, 512)
    assert dns.shortened(asked, small) == small


def test_a_pointer_leads_to_a_name():
    asked = parsed("5.1.0.10.in-addr.arpa", dns.TYPE_PTR)
    answer = dns.answer_pointer(asked, "web.1.abc.back", 5, 512)
    assert answer.endswith(wire("web.1.abc.back"))
    assert head(answer)[3] == 1


def test_the_hosts_name_servers_are_the_first_three_that_are_not_ours():
    text = """
    # a comment
    nameserver 127.0.0.11
    nameserver 127.0.0.53
    nameserver fe80::1%eth0
    nameserver
    search nameserver 9.9.9.9
    nameserver 192.0.2.1
    nameserver 192.0.2.2
    nameserver 192.0.2.3
    """
    assert dns.nameservers(text) == ("127.0.0.53", "192.0.2.1", "192.0.2.2")
