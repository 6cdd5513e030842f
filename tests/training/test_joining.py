"""Processes that meet, agree and watch each other; here they are threads of one process."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import pytest

from pes_rl.config import Config
from pes_rl.errors import UserError
from pes_rl.training import joining, links
from pes_rl.training.agreement import about, code_digest, difference
from pes_rl.training.joining import Joined, join
from tests.tools.run_tools import free_port
from tests.tools.toy_environment import configure

CONFIG = {"resume": False, **asdict(configure())}
SAME = about(2, CONFIG)
OPTIONS = ["num_processes", "resume", *Config.__dataclass_fields__]
VERSIONS = ["python", "pes_rl", "numpy", "jax", "jaxlib", "mujoco", "mujoco-mjx", "brax"]
VERSIONS += ["gymnasium", "code", "JAX_ENABLE_X64"]


def with_other(group: str, name: str) -> dict:
    there = json.loads(json.dumps(SAME))
    there[group][name] = "other"
    return there


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "num_threads"])
def test_an_option_that_differs_is_named_with_both_values(name):
    assert difference(SAME, with_other("options", name), 1) == (
        f"process 1 has {name} 'other', process 0 has {SAME['options'][name]!r}; "
        "start all processes with the same options"
    )


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_that_differs_is_named_before_the_options(name):
    there = with_other("versions", name)
    there["options"]["seed"] = 7
    assert difference(SAME, there, 3) == (
        f"process 3 has {name} 'other', process 0 has {SAME['versions'][name]!r}; "
        "install the same everywhere"
    )


def test_threads_and_machines_are_each_process_s_own():
    assert difference(SAME, about(2, {**CONFIG, "num_threads": 7}), 1) is None
    assert not {"platform", "cpu_count"} & SAME["versions"].keys()


def test_what_says_nothing_differs():
    assert difference(SAME, {}, 1) and difference(SAME, {"versions": 3}, 1)


def test_the_digest_is_that_of_the_source_files(tmp_path):
    (tmp_path / "a.py").write_text("1")
    digests = [code_digest(tmp_path / "."), code_digest(tmp_path / "nothing")]
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    digests.append(code_digest(tmp_path / ".." / tmp_path.name))
    assert len({*digests, SAME["versions"]["code"]}) == 4


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(joining, "_AGAIN_S", 0.05)
    monkeypatch.setattr(joining, "_PATIENCE_S", 5.0)
    monkeypatch.setattr(joining, "_RESOLVE_S", 0.0)
    monkeypatch.setattr(joining, "_DIFFERENT_S", 0.6)
    monkeypatch.setattr(links, "_WAIT_S", 0.05)
    monkeypatch.setattr(links, "_BEAT_S", 0.1)
    monkeypatch.setattr(links, "_SILENT_S", 1.0)
    monkeypatch.setattr(links, "_FAREWELL_S", 0.3)


class Meeting:
    """Threads that join at one address."""

    def __init__(self, held: contextlib.ExitStack):
        self.address, self.held = f"127.0.0.1:{free_port()}", held
        self.pool = held.enter_context(ThreadPoolExecutor(8))

    def come(self, index: int, size: int = 2, told: dict = SAME) -> Future:
        def work() -> Joined | str:
            try:
                joined = join(self.address, size, index, told)
            except UserError as error:
                return str(error)
            self.held.callback(joined.links.close)
            return joined

        return self.pool.submit(work)

    def connect(self) -> socket.socket:
        host, port = self.address.split(":")
        for _ in range(100):
            with contextlib.suppress(ConnectionRefusedError):
                return self.held.enter_context(socket.create_connection((host, int(port))))
            time.sleep(0.02)
        raise AssertionError("nobody listens")


@pytest.fixture
def meeting(hurried):
    with contextlib.ExitStack() as held:
        yield Meeting(held)


def watched(joined: Joined) -> threading.Event:
    lost = threading.Event()
    joined.links.watch(lost.set, joined.refuse)
    return lost


def test_those_who_are_alike_meet_and_later_ones_disturb_nobody(meeting):
    early = [meeting.come(0, 3), meeting.come(1, 3)]
    quiet, rude = meeting.connect(), meeting.connect()
    rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
    deep = meeting.connect()
    deep.sendall(b"[" * 50_000 + b"\n")
    joined = [future.result(5) for future in (*early, meeting.come(2, 3))]
    assert len({j.service for j in joined}) == 1 and joined[0].service != meeting.address
    lost = [watched(j) for j in joined]
    # The same again, and a process of another run.
    assert "is in use, perhaps by another run" in meeting.come(0, 3).result(5)
    for late in (meeting.come(2, 3), meeting.come(1, 2, about(2, {"seed": 3}))):
        assert f"a run of 3 processes is under way at {meeting.address}" in late.result(5)
    time.sleep(0.5)
    assert quiet and not any(event.is_set() for event in lost)
    joined[2].links.close()
    assert lost[0].wait(1)
    joined[0].links.tell({"lost": True})
    assert lost[1].wait(1)


def test_all_hear_of_a_difference(meeting):
    futures = [meeting.come(i, 3, about(3, {"seed": seed})) for i, seed in enumerate((0, 5, 0))]
    texts = {future.result(5) for future in futures}
    assert texts == {
        "process 1 has seed 5, process 0 has 0; start all processes with the same options"
    }


@pytest.mark.parametrize(("here", "there"), [(2, 3), (3, 2)])
def test_all_hear_that_their_number_differs(here, there, meeting):
    futures = [meeting.come(i, n, about(n, {})) for i, n in enumerate((here, there, there)[:there])]
    for future in futures:
        assert f"has num_processes {there}, process 0 has {here}; start all" in future.result(5)


def test_one_that_comes_twice_is_sent_away(meeting):
    first = meeting.come(1, 3)
    zero = meeting.come(0, 3)
    second = None
    while second is None or not second.done():  # whichever of the two is the later one
        second = second or meeting.come(1, 3)
        if first.done():
            first, second = second, first
        time.sleep(0.01)
    assert "process 1 of the run is there already" in second.result()
    joined = [future.result(5) for future in (zero, first, meeting.come(2, 3))]
    assert all(isinstance(j, Joined) for j in joined)


def test_one_that_stands_still_is_noticed(meeting):
    meeting.come(1)
    zero = meeting.come(0).result(5)
    lost = watched(zero)  # the other one has joined, and says nothing more
    assert not lost.wait(0.5) and lost.wait(2.0)


def test_one_that_waits_for_long_is_not(meeting):
    zero, one = [future.result(5) for future in (meeting.come(0), meeting.come(1))]
    lost = [watched(zero), watched(one)]
    assert not lost[0].wait(1.6) and not lost[1].is_set()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.1:2345", "which is no address of this machine"),
        ("no.such.host.invalid:2345", "leads nowhere"),
    ],
)
def test_addresses_that_the_first_cannot_listen_at(address, words, hurried):
    with pytest.raises(UserError, match=words):
        join(address, 2, 0, SAME)


def test_nobody_there_and_somebody_else(hurried, monkeypatch):
    monkeypatch.setattr(joining, "_PATIENCE_S", 0.3)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"process 1 finds no process 0 at {address} in 0 s"):
        join(address, 2, 1, SAME)
    with pytest.raises(UserError, match=f"process 1 has not come to {address}"):
        join(address, 2, 0, SAME)
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor() as pool:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        joining_one = pool.submit(join, address, 2, 1, SAME)
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"220 mail\r\n")
            with pytest.raises(UserError, match="is no process 0 of a run"):
                joining_one.result(5)


def test_the_first_listens_at_its_address_alone(meeting):
    meeting.come(0)
    meeting.connect()
    port = int(meeting.address.split(":")[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2)
    meeting.come(1).result(5)
