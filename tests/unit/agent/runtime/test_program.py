from agent.executor.programs import ProgramRequest
from agent.runtime.program import merged_env

OWN = ["PATH=/bin", "MODE=live"]


def test_what_is_asked_for_lies_on_top_of_the_containers_environment():
    request = ProgramRequest(argv=("env",), env=("MODE=test", "EMPTY=", "X=a=b"))
    assert merged_env(OWN, request) == ["PATH=/bin", "MODE=test", "EMPTY=", "X=a=b"]


def test_a_terminal_has_a_name_unless_one_is_said():
    assert merged_env(OWN, ProgramRequest(argv=("sh",), tty=True))[-1] == "TERM=xterm"
    request = ProgramRequest(argv=("sh",), tty=True, env=("TERM=dumb",))
    assert merged_env(OWN, request)[-1] == "TERM=dumb"
    assert "TERM=xterm" not in merged_env(["TERM=vt100"], ProgramRequest(argv=("sh",), tty=True))
