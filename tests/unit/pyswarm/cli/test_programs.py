import pytest

from pyswarm.cli.programs import environment
from pyswarm.errors import InvalidArgument


def test_a_name_alone_takes_its_value_from_here(monkeypatch):
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("ABSENT", raising=False)
    assert environment(["A=b", "HERE", "ABSENT", "E="], []) == ["A=b", "HERE=yes", "E="]


def test_files_come_before_flags(tmp_path):
    path = tmp_path / "env"
    path.write_text("# a comment\nA=file\n\nB=2\n")
    assert environment(["A=flag"], [str(path)]) == ["A=file", "B=2", "A=flag"]


@pytest.mark.parametrize("wrong", ["", "=x"])
def test_what_is_no_variable_is_refused(wrong):
    with pytest.raises(InvalidArgument):
        environment([wrong], [])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match="cannot read"):
        environment([], [str(tmp_path / "nowhere")])
