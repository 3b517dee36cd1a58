"""The window: what is handed over and when, what is believed of the answers, and how trouble of an executor is told."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager

import pytest

from model_provisioner.cli.output import note_read_here
from model_provisioner.errors import ExecutorError
from model_provisioner.hashing.executors import local, window as windows
from model_provisioner.hashing.executors.choose import Scheduler
from model_provisioner.hashing.executors.tasks import FILES, LARGE, Asked, Hashed, SawAnother, tasks_of
from model_provisioner.hashing.executors.window import AHEAD, NAMED, Window


def file(name, size=1):
    return Asked(name, size, 0, 0)


def asked(path, data=b"bytes"):
    path.write_bytes(data)
    status = os.stat(path)
    return Asked(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def look(file):
    return file.size, file.mtime_ns, file.inode


class Patient(Executor):
    """Keeps what it is given until the test answers."""

    slots = 2

    def __init__(self):
        self.given = []

    def submit(self, call, /, *args):
        self.given.append((args[0], Future()))
        return self.given[-1][1]


class Answering(Executor):
    """Gives one answer to everything: `says` makes it of the files of a task."""

    def __init__(self, says):
        self._says = says

    def submit(self, call, /, task):
        future = Future()
        try:
            future.set_result(self._says(task))
        except BaseException as error:
            future.set_exception(error)
        return future


def window_to(executor, patience=600):
    @contextmanager
    def opened():
        yield executor

    return Window(Scheduler("test:it", opened, patience))


def one(said):
    return lambda task: ("worker-7", [said])


# ---- tasks


def test_a_large_file_is_a_task_and_small_ones_are_tasks_together():
    small = [file(f"s{number}", LARGE // 4) for number in range(5)]
    tasks = tasks_of([file("l", LARGE + 1), *small])
    assert [[each.path for each in task] for task in tasks] == [["l"], ["s0", "s1", "s2", "s3"], ["s4"]]


def test_a_task_has_so_many_files_and_no_more():
    assert [len(task) for task in tasks_of([file(str(number)) for number in range(FILES + 1)])] == [FILES, 1]
    assert tasks_of([]) == []


# ---- how much is handed over at a time


def begun(window, files):
    """Ask in a thread; return what ends it."""
    stop = threading.Event()

    def progress(count):
        if stop.is_set():
            raise InterruptedError

    def ask():
        try:
            list(window.hash(files, progress))
        except InterruptedError:
            pass

    thread = threading.Thread(target=ask)
    thread.start()

    def end():
        stop.set()
        thread.join(10)
        assert not thread.is_alive()

    return end


def wait_until(is_so):
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_large_files_wait_for_no_worker():
    executor = Patient()
    end = begun(window_to(executor), [file(str(number), AHEAD) for number in range(9)])
    wait_until(lambda: len(executor.given) == 2)
    time.sleep(0.05)
    assert len(executor.given) == executor.slots
    end()
    assert all(future.cancelled() for _, future in executor.given)


def test_of_small_ones_another_task_waits_for_each_worker_and_all_threads_share_the_room():
    executor = Patient()
    window = window_to(executor)
    ends = [begun(window, [file(f"{thread}-{number}", LARGE) for number in range(9)]) for thread in range(3)]
    wait_until(lambda: len(executor.given) == 4)
    time.sleep(0.05)
    assert len(executor.given) == 2 * executor.slots
    task, future = executor.given[0]
    future.set_result(("w", [("0" * 64, task[0][1], task[0][1])]))
    wait_until(lambda: len(executor.given) == 5)
    for end in ends:
        end()


def test_what_is_not_wanted_any_more_is_cancelled():
    executor = Patient()
    with closing(
        window_to(executor).hash([file("a")], lambda count: (_ for _ in ()).throw(KeyboardInterrupt))
    ) as found:
        with pytest.raises(KeyboardInterrupt):
            next(found)
    assert executor.given[0][1].cancelled()


# ---- what is believed


@pytest.mark.parametrize("scheduler", [local.threads(), Scheduler("local:2", lambda: local.opened("2"))], ids=repr)
def test_files_are_hashed_and_their_bytes_counted(scheduler, tmp_path):
    files = [asked(tmp_path / str(number), os.urandom(number)) for number in range(20)]
    read = []
    with closing(Window(scheduler)) as window:
        found = {file.path: answer for some in window.hash(files, read.append) for file, answer in some}
    assert found == {
        each.path: Hashed(hashlib.sha256((tmp_path / str(number)).read_bytes()).hexdigest())
        for number, each in enumerate(files)
    }
    assert sum(read) == sum(range(20))
    assert window.read_here == {}


def test_a_file_that_changed_while_it_was_read_is_not_hashed(tmp_path):
    it = asked(tmp_path / "a")
    later = (it.size, it.mtime_ns + 1, it.inode)
    window = window_to(Answering(one(("0" * 64, look(it), later))))
    assert list(window.hash([it], print)) == [[(it, SawAnother("it changed while worker-7 read it"))]]
    assert window.read_here == {it.path: "it changed while worker-7 read it"}


def test_a_stale_file_is_not_hashed(tmp_path):
    it = asked(tmp_path / "a")
    [[(_, found)]] = window_to(Answering(one(((4, 1_000_000_000, 7),)))).hash([it], print)
    assert found.found.startswith("worker-7 sees another file there: 4 bytes of 1.000000, inode 7, and not 5 bytes of ")


def test_what_a_worker_can_not_read_is_trouble_of_the_worker_as_long_as_the_file_is_here(tmp_path):
    it = asked(tmp_path / "a")
    window = window_to(Answering(one("No such file or directory")))
    with pytest.raises(ExecutorError) as caught:
        list(window.hash([it], print))
    assert str(caught.value) == (
        "a worker can't read a file that is here\n"
        f"  where     {it.path}\n"
        "  expected  the same files under the same paths on every worker, for a user who may read them\n"
        "  found     on worker-7: No such file or directory\n"
        "  fix       mount the folder there; or leave --scheduler out: then the files are read by this machine"
    )
    os.unlink(it.path)
    assert list(window.hash([it], print)) == [
        [(it, SawAnother("worker-7 could not read it: No such file or directory"))]
    ]


@pytest.mark.parametrize(
    "said",
    [
        None,
        ("worker-7", []),
        ("worker-7", [None]),
        ("worker-7", [("0" * 63 + "g", (5, 0, 0), (5, 0, 0))]),
        ("worker-7", [("0" * 64,) * 4]),
        (7, [("0" * 64, (5, 0, 0), (5, 0, 0))]),
        {"sha256": "0" * 64},
    ],
)
def test_what_no_worker_of_ours_says_is_not_understood(said, tmp_path):
    with pytest.raises(ExecutorError) as caught:
        list(window_to(Answering(lambda task: said)).hash([asked(tmp_path / "a")], print))
    assert caught.value.what == "a worker says what can't be understood"


# ---- trouble


def fail(error):
    def says(task):
        raise error

    return says


def test_an_error_of_a_worker_is_told_with_the_files_that_it_had_and_without_credentials(tmp_path):
    files = [asked(tmp_path / name) for name in "ab"]
    error = ConnectionError("lost https://me:secret@host/x\nand more")
    with pytest.raises(ExecutorError) as caught:
        list(window_to(Answering(fail(error))).hash(files, print))
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"a worker failed, or was lost, while it had {tmp_path}/a and 1 more\n"
        "  where     test:it\n"
        "  expected  workers that stay, with this version of model-provisioner\n"
        "  found     ConnectionError: lost https://host/x\n"
        "  fix       look at its log, and see that it has memory; or leave --scheduler out: then the files are read by this "
        "machine"
    )


def test_a_task_that_the_executor_gives_up(tmp_path):
    executor = Patient()
    window = window_to(executor)
    threading.Timer(0.05, lambda: (wait_until(lambda: executor.given), executor.given[0][1].cancel())).start()
    with pytest.raises(ExecutorError, match="a worker failed, or was lost"):
        list(window.hash([asked(tmp_path / "a")], lambda count: None))


def test_an_executor_that_takes_no_more(tmp_path):
    with ThreadPoolExecutor() as executor:
        pass
    window = window_to(executor)
    for _ in range(40):  # and no room is lost by it
        with pytest.raises(ExecutorError) as caught:
            list(window.hash([asked(tmp_path / "a")], print))
    assert caught.value.found == "RuntimeError: cannot schedule new futures after shutdown"


def test_silence_is_an_error_and_patience_grows_with_the_file(monkeypatch):
    executor = Patient()
    with pytest.raises(ExecutorError) as caught:
        list(window_to(executor, 0).hash([file("a")], lambda count: None))
    assert caught.value.what == "the workers are silent"
    assert executor.given[0][1].cancelled()
    monkeypatch.setattr(windows, "SLOWEST", 1)
    end = begun(window_to(Patient(), 0), [file("a", 600)])
    time.sleep(0.2)
    end()


def test_an_executor_that_does_not_open(monkeypatch):
    tries = []

    def opens():
        tries.append(1)
        raise OSError("no route to tcp://user:secret@host")

    with pytest.raises(ExecutorError) as caught:
        Window(Scheduler("test:it", opens)).connect()
    assert str(caught.value) == (
        "the executor can't be used\n"
        "  where     test:it\n"
        "  expected  one that answers there\n"
        "  found     OSError: no route to tcp://host\n"
        "  fix       start it, or correct the address; or leave --scheduler out: then the files are read by this machine"
    )
    tries.clear()
    window = Window(Scheduler("test:it", opens))
    for _ in range(3):  # of all threads that wait for it the first tries
        with pytest.raises(ExecutorError):
            window.connect()
    window.close()
    with pytest.raises(ExecutorError):
        window.connect()
    assert len(tries) == 2
    monkeypatch.setattr(windows, "CONNECT_SECONDS", 0.05)
    hangs = threading.Event()
    with pytest.raises(ExecutorError) as caught:
        Window(Scheduler("test:it", hangs.wait)).connect()
    hangs.set()
    assert caught.value.found == "TimeoutError: no answer within 0 s"


def test_an_executor_is_opened_once_and_again_after_it_was_closed():
    opened = []

    @contextmanager
    def opens():
        opened.append("opened")
        yield Patient()
        opened.append("closed")

    window = Window(Scheduler("test:it", opens))
    window.close()
    assert (window.slots, window.slots) == (2, 2)
    window.close()
    window.close()
    window.connect()
    assert opened == ["opened", "closed", "opened"]


def test_an_executor_that_does_not_say_how_much_it_does_at_a_time():
    with ThreadPoolExecutor() as executor:
        assert window_to(executor).slots == windows.SLOTS


# ---- processes


def test_processes_end_at_once_in_the_middle_of_a_file(tmp_path):
    with open(tmp_path / "large", "wb") as large:
        large.truncate(100 << 30)
    status = os.stat(tmp_path / "large")
    it = Asked(str(tmp_path / "large"), status.st_size, status.st_mtime_ns, status.st_ino)
    window = Window(Scheduler("local:1", lambda: local.opened("1")))
    began = time.monotonic()

    def interrupt(count):
        if time.monotonic() > began + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(window.hash([it], interrupt))
    window.close()
    assert time.monotonic() - began < 10


def test_a_process_that_dies_is_told(tmp_path):
    it = asked(tmp_path / "a")
    with closing(Window(Scheduler("local:1", lambda: local.opened("1")))) as window:
        list(window.hash([it], print))
        executor = window._opened()
        assert isinstance(executor.submit(os._exit, 1).exception(10), BrokenProcessPool)
        with pytest.raises(ExecutorError, match="a worker failed, or was lost") as caught:
            list(window.hash([it], print))
    assert caught.value.found.startswith("BrokenProcessPool: ")


def test_no_process_outlives_who_started_it(tmp_path):
    code = """
import os
from model_provisioner.hashing.executors import local
from model_provisioner.hashing.executors.choose import Scheduler
from model_provisioner.hashing.executors.window import Window
if __name__ == "__main__":
    window = Window(Scheduler("local:1", lambda: local.opened("1")))
    executor = window._opened()
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(__import__("time").sleep, 600)
    os.kill(os.getpid(), 9)
"""
    (tmp_path / "main.py").write_text(code)
    run = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, timeout=60)
    assert run.returncode == -9, run
    wait_until(lambda: not os.path.exists(f"/proc/{int(run.stdout)}"))


@pytest.mark.parametrize("after", [0, 0.03, 0.1])
def test_ctrl_c_while_processes_begin_is_none_of_theirs(tmp_path, after):
    """A terminal sends it to all of them, and Python would say where each was interrupted."""
    code = f"""
import os, pathlib, signal, threading, time
from model_provisioner.hashing.executors import local

def interrupt():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as if this thread were not there
    children = pathlib.Path(f"/proc/self/task/{{os.getpid()}}/children")
    while len(children.read_text().split()) < 2:  # the first one keeps account of resources
        time.sleep(0.001)
    time.sleep({after})
    os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    threading.Thread(target=interrupt).start()
    try:
        with local.opened("2") as executor:
            for _ in range(2):
                executor.submit(time.sleep, 600)
            time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted")
"""
    (tmp_path / "main.py").write_text(code)
    command = [sys.executable, tmp_path / "main.py"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "interrupted\n", "")


# ---- what had to be read here


def test_of_files_that_had_to_be_read_here_some_are_named_and_all_are_counted(tmp_path, capsys):
    files = [asked(tmp_path / str(number)) for number in range(NAMED + 3)]
    window = window_to(Answering(lambda task: ("worker-7", [("Stale file handle" * 99, look) for _, look in task])))
    list(window.hash(files, print))
    why = f"worker-7 could not read it to its end: {'Stale file handle' * 99}"[:239]
    assert window.read_here == {each.path: why for each in files[:NAMED]}
    assert window.more_read_here == 3
    note_read_here(window)
    assert capsys.readouterr().err == f"note: read by this machine: {files[0].path} ({why}), and {NAMED + 2} more\n"
