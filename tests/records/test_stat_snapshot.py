"""How files look: two processes say of many what one says, and whatever keeps the second one from it."""

import os
import sys
import textwrap

import pytest

from model_provisioner.records.stat_snapshot import MANY, changed_files

COUNT = MANY + 101
FORKS = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1

FILES = f"""
import os, random, signal, sys, threading, time
from model_provisioner.records import stat_snapshot as stats

def column(number):
    return [identities[path][number] for path in paths]

def look(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

os.chdir(sys.argv[1])
paths = [str(number) for number in range({COUNT})]
for path in paths:
    open(path, "w").close()
identities = {{path: look(path) for path in paths}}
columns = [column(number) for number in range(5)]
one_process = lambda: stats._changed(paths, columns, 0, len(paths))
pids = []
real_fork = os.fork
def fork():
    pids.append(real_fork())
    return pids[-1]
os.fork = fork
descriptors = lambda: sorted(os.listdir("/proc/self/fd"))
def is_clean():
    try:
        os.waitpid(-1, os.WNOHANG)
        return False
    except ChildProcessError:
        return True
def ticked():
    time.sleep(0.02)
def touch(*numbers):
    ticked()
    for number in numbers:
        os.utime(paths[number])
"""


@pytest.fixture
def looked(tmp_path, run_python):
    """Run a program over many files, in a process that has one thread; return what it prints."""

    def run(program: str) -> list[str]:
        folder = tmp_path / "files"
        folder.mkdir()
        return run_python(f"import sys; sys.argv.append({str(folder)!r})\n{FILES}\n{textwrap.dedent(program)}").split()

    return run


EDITS = """
random.seed({seed})
for _ in range(12):
    ticked()
    for number in random.sample(range(len(paths)), random.choice([0, 1, 2, 50, len(paths)])):
        path = paths[number]
        edit = random.choice(["touch", "write", "remove", "replace", "folder", "chmod"])
        if edit == "touch" and os.path.exists(path):
            os.utime(path)
        elif edit == "write" and not os.path.isdir(path):
            open(path, "a").write("x")
        elif edit == "remove" and os.path.isfile(path):
            os.unlink(path)
        elif edit == "replace" and os.path.isfile(path):
            open(path + ".new", "w").close()
            os.replace(path + ".new", path)
        elif edit == "folder" and not os.path.exists(path):
            os.mkdir(path)
        elif edit == "chmod" and os.path.exists(path):
            os.chmod(path, 0o600)
    found = stats.changed_files(paths, columns)
    assert found == one_process(), len(found)
    if random.random() < 0.5:  # from here on, some of them look right again
        for number in random.sample(sorted(found), len(found) // 2):
            if os.path.exists(paths[number]):
                for column, value in zip(columns, look(paths[number]), strict=True):
                    column[number] = value
print(len(pids), is_clean())
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_processes_say_what_one_says(looked, seed):
    assert looked(EDITS.format(seed=seed)) == ["12" if FORKS else "0", "True"]


@pytest.mark.slow
@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("size", [1, 1 << 62])
def test_every_column_counts_in_both_halves(looked, column, size):
    numbers = [0, COUNT // 2 - 1, COUNT // 2, COUNT - 1]
    out = looked(f"""
        for number in {numbers}:
            columns[{column}][number] += {size}
        print(*sorted(stats.changed_files(paths, columns)))
    """)
    assert out == [str(number) for number in numbers]


@pytest.mark.parametrize(
    ("count", "forks"), [(0, 0), (1, 0), (MANY - 1, 0), (MANY, 1), (MANY + 1, 1)], ids=lambda value: str(value)
)
def test_of_few_files_one_process_takes_all(looked, count, forks):
    out = looked(f"""
        print(*stats.changed_files(paths[:{count}], [column[:{count}] for column in columns]), len(pids))
    """)
    assert out == [str(forks if FORKS else 0)]


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="needs Linux and a second core")
@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os._exit(3)",
        "raise MemoryError",
        "raise KeyboardInterrupt",
        "sys.exit(0)",
    ],
    ids=["killed", "terminated", "exit", "memory", "interrupt", "sys.exit"],
)
def test_a_second_process_that_dies_is_done_without(looked, end):
    """It dies where it looks at its first file; what it would have found is found all the same."""
    out = looked(f"""
        touch(0, 5, len(paths) - 1, len(paths) // 2)
        parent, real, before = os.getpid(), os.stat, descriptors()
        def stat(path):
            if os.getpid() != parent:
                {end}
            return real(path)
        os.stat = stat
        print(*sorted(stats.changed_files(paths, columns)), len(pids), is_clean(), descriptors() == before)
    """)
    assert out == ["0", "5", str(COUNT // 2), str(COUNT - 1), "1", "True", "True"]


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="needs Linux and a second core")
def test_a_second_process_that_is_killed_while_it_tells_is_done_without(looked):
    """All files moved, so that it has more to tell than a pipe holds; it is killed in the middle of that."""
    out = looked("""
        touch(*range(len(paths)))
        before = descriptors()
        more, columns = paths * 12, [column * 12 for column in columns]
        def kill():
            while not pids:
                time.sleep(0.001)
            time.sleep(0.3)
            os.kill(pids[0], signal.SIGKILL)
        real = stats._changed
        def moved(paths, columns, begin, end):
            if not begin:
                kill()
            return real(paths, columns, begin, end)
        stats._changed = moved
        print(stats.changed_files(more, columns) == set(range(len(more))), len(pids), is_clean(), descriptors() == before)
    """)
    assert out == ["True", "1", "True", "True"]


@pytest.mark.skipif(not FORKS, reason="needs Linux and a second core")
def test_an_interruption_leaves_no_process_and_no_descriptor(looked):
    out = looked("""
        parent, real, before = os.getpid(), os.stat, descriptors()
        def stat(path):
            if os.getpid() == parent:
                raise KeyboardInterrupt
            return real(path)
        os.stat = stat
        try:
            stats.changed_files(paths, columns)
        except KeyboardInterrupt:
            print("interrupted", len(pids), is_clean(), descriptors() == before)
    """)
    assert out == ["interrupted", "1", "True", "True"]


@pytest.mark.parametrize(
    ("name", "limit"),
    [("RLIMIT_NPROC", 1), ("RLIMIT_NOFILE", 3), ("RLIMIT_NOFILE", 4)],
    ids=["processes", "files", "one"],
)
def test_where_no_more_processes_or_files_are_allowed_one_process_takes_all(looked, name, limit):
    out = looked(f"""
        import resource
        touch(1, len(paths) - 2)
        before = descriptors()
        if {name!r} == "RLIMIT_NPROC" and not os.geteuid():
            os.setuid(65534)  # root may have any number
        _, most = resource.getrlimit(resource.{name})
        resource.setrlimit(resource.{name}, ({limit}, most))
        found = stats.changed_files(paths, columns)
        resource.setrlimit(resource.{name}, (most, most))
        print(*sorted(found), pids, is_clean(), descriptors() == before)
    """)
    assert out == ["1", str(COUNT - 2), "[]", "True", "True"]


@pytest.mark.parametrize(
    "start", ["threading.Thread(target=run).start()", "_thread.start_new_thread(run, ())"], ids=["known", "unknown"]
)
def test_beside_other_threads_there_is_no_second_process(looked, start):
    """Of several threads only one would be in it, and locks that others held would stay held. Libraries start some too."""
    out = looked(f"""
        import _thread
        end = threading.Event()
        def run():
            end.wait()
        {start}
        touch(7, len(paths) - 7)
        print(*sorted(stats.changed_files(paths, columns)), len(pids))
        end.set()
        while len(os.listdir("/proc/self/task")) > 1:
            time.sleep(0.001)
        stats.changed_files(paths, columns)
        print(len(pids))
    """)
    assert out == ["7", str(COUNT - 7), "0", "1" if FORKS else "0"]


@pytest.mark.skipif(not FORKS, reason="needs Linux and a second core")
def test_where_no_end_of_a_process_is_told_all_is_found(looked):
    """Some supervisors start a program so that it ignores the ends of its children."""
    out = looked("""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        touch(7, len(paths) - 7)
        print(*sorted(stats.changed_files(paths, columns)), len(pids))
    """)
    assert out == ["7", str(COUNT - 7), "1"]


def test_what_the_parent_has_to_write_is_written_once(looked):
    """A fork has what the parent buffered, and its functions for the end."""
    out = looked("""
        import atexit
        atexit.register(lambda: print("end"))
        sys.stdout.write("begin ")
        stats.changed_files(paths, columns)
    """)
    assert out == ["begin", "end"]


def test_files_that_are_none(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    now = os.stat(tmp_path / "file")
    seen = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    paths = [str(tmp_path / name) for name in ("file", "none", "file/below", "loop", "file")]
    assert changed_files(paths, [[each] * 5 for each in seen]) == {1, 2, 3}
