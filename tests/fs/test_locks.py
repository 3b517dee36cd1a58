"""Locks between threads and processes."""

import os
import threading

from model_provisioner.fs.locks import locked


def test_a_lock_is_held_by_one_at_a_time_and_freed_by_death(tmp_path):
    inside = []
    overlaps = []

    def work():
        for _ in range(30):
            with locked(str(tmp_path), "hash", "/x"):
                inside.append(1)
                overlaps.append(len(inside))
                inside.pop()

    if (child := os.fork()) == 0:
        with locked(str(tmp_path), "hash", "/x"):
            os.kill(os.getpid(), 9)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.waitpid(child, 0)
    assert overlaps == [1] * 120


def test_there_are_few_lock_files_however_many_keys(tmp_path):
    for number in range(1000):
        with locked(str(tmp_path), "hash", str(number)):
            pass
    assert len(os.listdir(tmp_path / "locks" / "hash")) <= 256
