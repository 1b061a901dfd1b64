"""What the kernel's files say, in both versions of cgroups."""

from agent.runtime.statistics import use_v1, use_v2

DEVICES = """Inter-|   Receive                                    |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo
    lo:    5000       9    0    0    0     0          0         0   5000       9    0    0    0
  eth0:    1000       2    0    0    0     0          0         0    200       1    0    0    0
  eth1:     500       2    0    0    0     0          0         0     50       1    0    0    0
"""
V1 = {
    "cpuacct/cpuacct.usage": "2500000000\n",
    "memory/memory.usage_in_bytes": "10000000\n",
    "memory/memory.stat": "cache 9\ninactive_file 1\ntotal_inactive_file 4000000\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": (
        "8:0 Read 4096\n8:0 Write 100\n8:16 Read 4\n8:16 Async 7\nTotal 4207\n"
    ),
    "pids/pids.current": "3\n",
    "pids/pids.max": "max\n",
}
V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    "memory.current": "10000000\n",
    "memory.stat": "anon 5\ninactive_file 4000000\n",
    "memory.max": "67108864\n",
    "io.stat": "8:0 rbytes=4096 wbytes=100 rios=1\n8:16 rbytes=4 wbytes=0 rios=1\n",
    "pids.current": "3\n",
    "pids.max": "100\n",
}


def reader(files):
    return lambda name: files.get(name, "")


def test_version_1():
    use = use_v1(reader(V1), DEVICES, 7.0)
    assert (use.at, use.cpu_seconds) == (7.0, 2.5)
    assert use.memory_bytes == 6_000_000, "idle pages of files are not counted, as in Docker"
    assert use.memory_limit_bytes == 0, "the largest number is no limit"
    assert (use.block_read_bytes, use.block_written_bytes) == (4100, 100)
    assert (use.network_received_bytes, use.network_sent_bytes) == (1500, 250)
    assert (use.pids, use.pids_limit) == (3, 0)


def test_version_2():
    use = use_v2(reader(V2), DEVICES, 7.0)
    assert use.cpu_seconds == 2.5
    assert (use.memory_bytes, use.memory_limit_bytes) == (6_000_000, 64 << 20)
    assert (use.block_read_bytes, use.block_written_bytes) == (4100, 100)
    assert (use.pids, use.pids_limit) == (3, 100)


def test_a_controller_that_the_kernel_lacks_counts_nothing():
    for use in (use_v1(reader({}), "", 0.0), use_v2(reader({}), "", 0.0)):
        assert (use.cpu_seconds, use.memory_bytes, use.pids) == (0.0, 0, 0)
