from agent.executor.programs import ContainerUse, cannot_run, cpu_percent


def use(at, cpu_seconds):
    return ContainerUse(
        at=at,
        cpu_seconds=cpu_seconds,
        memory_bytes=0,
        memory_limit_bytes=0,
        block_read_bytes=0,
        block_written_bytes=0,
        network_received_bytes=0,
        network_sent_bytes=0,
        pids=0,
        pids_limit=0,
    )


def test_a_processor_used_whole_is_a_hundred_percent():
    assert cpu_percent(use(10.0, 5.0), use(12.0, 7.0)) == 100.0
    assert cpu_percent(use(10.0, 5.0), use(12.0, 9.0)) == 200.0
    assert cpu_percent(use(10.0, 5.0), use(12.0, 5.5)) == 25.0


def test_a_container_that_began_anew_uses_nothing_below_zero():
    assert cpu_percent(use(10.0, 5.0), use(12.0, 0.0)) == 0.0
    assert cpu_percent(use(10.0, 5.0), use(10.0, 5.0)) == 0.0


def test_exit_codes_are_those_of_a_shell():
    assert cannot_run('exec: "nope": executable file not found in $PATH').exit_code == 127
    assert cannot_run("exec: /bin/nope: no such file or directory").exit_code == 127
    assert cannot_run('exec: "/etc/passwd": permission denied').exit_code == 126
