"""Worker processes end with their parent, whenever and however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from helpers import left_after, workers_of

ORPHANS = """
import ctypes, os, signal, sys, time
from skipway.studies.process import ended_by_the_kernel, start_worker

parent = os.getpid()
if os.fork() == 0:  # one that starts when its parent is gone
    while os.getppid() == parent:
        time.sleep(0.01)
    start_worker(parent, "/")
    print("late", flush=True)
    os._exit(0)
ready, begins = os.pipe()
if os.fork() == 0:  # one in the middle of a long native call, in which no other thread of it runs
    start_worker(parent, "/")
    with ended_by_the_kernel():
        os.write(begins, b"x")
        ctypes.PyDLL(None).sleep(60)
os.read(ready, 1)
os.kill(parent, signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a native call that lets no thread run is ended by Linux's means")
def test_workers_end_with_a_parent_that_is_killed():
    """Its output ends when the last of them has."""
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", ORPHANS], stdout=subprocess.PIPE)
    assert parent.wait(60) == -signal.SIGKILL
    began = time.monotonic()
    assert parent.communicate(timeout=50)[0] == b""
    assert time.monotonic() - began < 5


def test_a_worker_is_where_it_is_told_that_its_parent_is(tmp_path):
    code = "import os, sys; from skipway.studies.process import start_worker\n"
    code += "start_worker(os.getppid(), sys.argv[1]); print(os.getcwd())"
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout.strip() == os.path.realpath(tmp_path)


@pytest.mark.slow
def test_control_c_while_workers_start_is_answered_by_the_parent_alone(tmp_path):
    """The terminal sends it to all processes of the group."""
    command = [sys.executable, "-m", "skipway", "study", "--out", str(tmp_path), "--gates", "plain", "--workers", "3"]
    process = subprocess.Popen(
        [*command, "--depths", "5"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(workers := workers_of(process.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert "start the same command again to go on" in err
    assert len(workers) == 3
    assert not left_after(5, workers)
