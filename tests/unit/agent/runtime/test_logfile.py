import json

from agent.runtime.logfile import (
    LINE_BYTES_MAX,
    LineSplitter,
    LogFile,
    file_path,
    files,
)
from agent.runtime.logplan import Rotation

NOON = 1_700_000_000.25


def test_lines_are_complete_when_their_break_has_come():
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one\n"]
    assert splitter.feed(b"o\n\nrest") == [b"two\n", b"\n"]
    assert (splitter.end(), splitter.end()) == (b"rest", b"")


def test_a_line_without_end_is_cut_into_pieces_of_bounded_size():
    splitter = LineSplitter()
    pieces = splitter.feed(b"x" * (2 * LINE_BYTES_MAX + 5))
    assert [len(piece) for piece in pieces] == [LINE_BYTES_MAX, LINE_BYTES_MAX]
    assert splitter.feed(b"\n") == [b"xxxxx\n"]


def test_no_character_is_cut_in_two():
    splitter = LineSplitter()
    text = "x" + "ä" * LINE_BYTES_MAX
    pieces = [*splitter.feed(text.encode()), splitter.end()]
    assert "".join(piece.decode() for piece in pieces) == text
    assert max(map(len, pieces)) <= LINE_BYTES_MAX


def test_entries_are_those_of_dockers_json_file(tmp_path):
    log = LogFile(tmp_path, Rotation())
    log.write("stderr", [b'say "hi"\n', b"\xff\n"], NOON)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "output.log").read_text().splitlines()]
    assert lines == [
        {"log": text, "stream": "stderr", "time": "2023-11-14T22:13:20.250000Z"}
        for text in ('say "hi"\n', "\ufffd\n")
    ]


def texts(directory):
    paths = [file_path(directory, number) for number in files(directory)]
    lines = [line for path in paths for line in path.read_text().splitlines()]
    return [json.loads(line)["log"].strip() for line in lines]


def test_the_newest_entries_are_kept_in_at_most_so_many_files(tmp_path):
    log = LogFile(tmp_path, Rotation(file_bytes=300, files=3))
    for number in range(20):
        log.write("stdout", [f"line {number}\n".encode()], NOON)
    log.close()
    newest = files(tmp_path)[-1]
    assert files(tmp_path) == [newest - 2, newest - 1, newest]
    kept = texts(tmp_path)
    assert kept == [f"line {number}" for number in range(20 - len(kept), 20)]
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())


def test_a_single_file_begins_anew(tmp_path):
    log = LogFile(tmp_path, Rotation(file_bytes=200, files=1))
    for number in range(10):
        log.write("stdout", [f"line {number}\n".encode()], NOON)
    log.close()
    assert len(files(tmp_path)) == 1
    assert texts(tmp_path)[-1] == "line 9"


def test_a_file_that_is_there_is_continued(tmp_path):
    for text in (b"before\n", b"after\n"):
        log = LogFile(tmp_path, Rotation())
        log.write("stdout", [text], NOON)
        log.close()
    assert (texts(tmp_path), files(tmp_path)) == (["before", "after"], [0])


def test_without_a_size_a_file_grows(tmp_path):
    log = LogFile(tmp_path, Rotation(file_bytes=0))
    for _ in range(100):
        log.write("stdout", [b"x" * 1000 + b"\n"], NOON)
    log.close()
    assert files(tmp_path) == [0]


def test_attributes_stand_in_each_entry(tmp_path):
    log = LogFile(tmp_path, Rotation(), {"tag": "web", "tier": "a\nb"})
    log.write("stdout", [b"one\n"], NOON)
    log.close()
    entry = json.loads(file_path(tmp_path, 0).read_text())
    assert entry["attrs"] == {"tag": "web", "tier": "a\nb"}
    assert (entry["log"], entry["stream"]) == ("one\n", "stdout")
