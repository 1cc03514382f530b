"""Rendezvous: torchrun's restarts differ from a user's, and old keys in the store are ignored."""

import json
import os
import socket
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import torch
from torch.distributed import DistStoreError, HashStore, TCPStore

from augrank.errors import DataError
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from training.cli.command import command_reporter
from training.distributed import world as distributed
from training.distributed.rendezvous import LAUNCH_FILE, Launch, agent_id, attempt_store

SHORT = timedelta(seconds=0.3)
MEMBER = """
import sys
from training.distributed import world as distributed
from training.distributed.world import process_group
if sys.argv[1] == "shared":
    distributed.attempt_store = lambda store, rank, size, timeout: store
with process_group("cpu") as ours:
    print(ours.all_gather(ours.rank * 10))
"""


def test_a_launch_is_identified_by_its_torchrun_not_by_job_or_count(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert agent_id() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "same")

    def name(folder: str, attempt: int, rank: int) -> str | None:
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(attempt))
        file = f"/logs/{folder}/attempt_{attempt}/{rank}/error.json"
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", file)
        return agent_id()

    assert name("same_a", 0, 0) == name("same_a", 2, 1) == f"{socket.gethostname()} /logs/same_a"
    assert name("same_b", 0, 0) != name("same_a", 0, 0)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", "")  # torchrun --log-dir /dev/null
    assert agent_id() == f"{socket.gethostname()} process {os.getppid()}"


def test_a_launch_is_a_restart_if_one_machine_belonged_to_the_last(tmp_path):
    first = Launch.from_ids(["a", "b", "b"])
    assert not first.is_restart(tmp_path)
    first.record(tmp_path)
    assert json.loads((tmp_path / LAUNCH_FILE).read_text()) == ["a", "b"]
    assert first.is_restart(tmp_path)
    without_the_leader = Launch.from_ids(["b", "c"])
    assert without_the_leader.is_restart(tmp_path)
    without_the_leader.record(tmp_path)
    assert Launch.from_ids(["c", "d"]).is_restart(tmp_path)
    assert not Launch.from_ids(["a", "d"]).is_restart(tmp_path)
    plain = Launch.from_ids([None, None])
    assert not plain.is_restart(tmp_path)  # each start by hand is a new one
    plain.record(tmp_path)
    assert json.loads((tmp_path / LAUNCH_FILE).read_text()) == ["b", "c"]


def meet(store: HashStore, ranks: list[int], size: int) -> dict[int, str]:
    """Return what each rank reads of the keys that its own attempt's leader wrote."""
    seen: dict[int, str] = {}

    def join(rank: int) -> None:
        part = attempt_store(store, rank, size, timedelta(seconds=PATIENCE_S))
        if rank == 0:
            part.set("address", f"of {min(ranks)}")
        seen[rank] = part.get("address").decode()
        part.add("mine", 1)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(seen) == sorted(ranks)
    return seen


def test_each_attempt_has_its_own_part_of_the_store():
    store = HashStore()
    store.set_timeout(timedelta(seconds=PATIENCE_S))
    store.set("augrank/request/1", "the dead")  # a process that was killed before it was answered
    assert meet(store, [0, 1, 2], 3) == dict.fromkeys(range(3), "of 0")
    with pytest.raises(DistStoreError, match="timed out: process 1 did not arrive"):
        attempt_store(store, 0, 3, SHORT)  # earlier processes do not count
    assert meet(store, [1, 0], 2) == dict.fromkeys(range(2), "of 0")


def members(kind: str, port: int) -> list[subprocess.Popen[str]]:
    """Start two processes under a torchrun whose store listens on this port."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, kind],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                 "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                 "TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_USE_AGENT_STORE": "True"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


@pytest.mark.slow
def test_processes_meet_in_a_store_used_by_killed_ones():
    """Addresses left by killed processes would be tried in vain, or make both sides wait."""
    torchruns = TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    for kind in ("shared", "own"):
        for member in members(kind, torchruns.port):
            stdout, stderr = member.communicate(timeout=PATIENCE_S)
            assert (member.returncode, stdout) == (0, "[0, 10]\n"), stderr


def alone_of_two(monkeypatch, port: int, **environment: str) -> None:
    names = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
             "TORCHELASTIC_USE_AGENT_STORE": "False", **environment}  # fmt: skip
    for name, value in names.items():
        monkeypatch.setenv(name, value)


def test_a_missing_process_is_reported(monkeypatch):
    alone_of_two(monkeypatch, free_port())
    monkeypatch.setattr(distributed, "GRADIENT_TIMEOUT", timedelta(seconds=1))
    with pytest.raises(DataError, match=r"has ended, or does not answer.*[Tt]imed out"):
        next(distributed.process_group("cpu").gen)


def test_a_process_that_dies_while_others_join_is_reported(monkeypatch):
    torchruns = TCPStore("127.0.0.1", 0, None, is_master=True, wait_for_workers=False)
    alone_of_two(monkeypatch, torchruns.port, TORCHELASTIC_USE_AGENT_STORE="True")
    monkeypatch.setattr(distributed, "attempt_store", lambda store, *_: store)

    def join(*_, **__) -> None:
        raise RuntimeError("Gloo connectFullMesh failed with [/pair.cc:1] Connection refused")

    monkeypatch.setattr(torch.distributed, "init_process_group", join)
    with pytest.raises(DataError, match=r"has ended, or does not answer.*Connection refused"):
        next(distributed.process_group("cpu").gen)


def test_the_resume_hint_mentions_a_restart_by_torchrun(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "fit", "--overwrite", "--out", "run"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = "esume with: torchrun ... -m training fit --out run\n"
    for job, says in ((None, f"R{command}"), ("job", f"Unless torchrun restarts it, r{command}")):
        if job:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", job)
        with pytest.raises(BaseException), command_reporter(resumable=True):  # noqa: B017, PT011
            raise KeyboardInterrupt
        assert capsys.readouterr().err == f"Interrupted. Completed work is kept. {says}"
