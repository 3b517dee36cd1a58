"""Another local user, as a member of the group that shares a project or a store: the second can do all the first can.

Two real users: this needs root, as CI has it.
"""

import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from model_provisioner.fs.atomic import drafted, write_atomically
from model_provisioner.fs.locking.locks import locked
from model_provisioner.fs.root import Roots
from model_provisioner.provenance.log import append
from model_provisioner.store.cleanup import KEPT_S, sweep
from model_provisioner.store.layout import TAG
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.refs import Record, StoredFile
from model_provisioner.store.single_flight import single_flight
from model_provisioner.store.store import Store
from model_provisioner.store.usage import note, usage_records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="two users need root")
ANNA, BERT, GROUP, STRANGER = 4001, 4002, 4000, 4003
SHA = {data: hashlib.sha256(data).hexdigest() for data in (b"model", b"other")}


@pytest.fixture
def shared():
    """A folder of the group, in which what is made belongs to the group, too. The folders of pytest are its user's alone."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        folder = Path(above) / "shared"
        folder.mkdir()
        os.chown(folder, ANNA, GROUP)
        folder.chmod(0o2775)
        yield folder


def by(user, work, umask=0o002):
    """Let a user do some work, in a process of their own; return what it returns."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([GROUP] if user != STRANGER else [])
            os.setgid(user)
            os.setuid(user)
            os.umask(umask)
            os.chdir("/")
            answer = {"done": work()}
        except BaseException as error:  # noqa: BLE001  told to the parent
            answer = {"failed": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    assert "failed" not in answer, answer["failed"]
    return answer["done"]


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_member_replaces_what_another_wrote(shared, umask):
    path = str(shared / ".runtime" / "engines" / "x.json")
    by(ANNA, lambda: write_atomically(path, b"anna", Roots(str(shared))))
    by(ANNA, lambda: write_atomically(path, b"anna", Roots(str(shared))), umask)
    by(BERT, lambda: write_atomically(path, b"bert", Roots(str(shared))), umask)
    by(ANNA, lambda: write_atomically(path, b"again", Roots(str(shared))), umask)
    with open(path, "rb") as file:
        assert file.read() == b"again"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o664 & ~umask


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_a_draft_that_a_killed_member_left_is_in_nobodys_way(shared, umask):
    path = str(shared / "x.json")

    def killed():
        with drafted({path: b"half"}):
            os._exit(0)

    if (pid := os.fork()) == 0:
        os.setgroups([GROUP])
        os.setgid(ANNA)
        os.setuid(ANNA)
        os.umask(umask)
        killed()
    os.waitpid(pid, 0)
    assert os.listdir(shared) == [".x.json.tmp"]
    if umask == 0o077:  # nobody else can so much as see whether it is held
        with pytest.raises(AssertionError, match="a file could not be written"):
            by(BERT, lambda: write_atomically(path, b"bert"))
        return
    by(BERT, lambda: write_atomically(path, b"bert"))
    assert os.listdir(shared) == ["x.json"]


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_members_append_to_one_log(shared, umask):
    """A log that only its owner may write is rotated: nothing is lost."""
    path = str(shared / ".runtime" / "provenance" / "models.jsonl")
    (shared / ".runtime" / "provenance").mkdir(parents=True)
    for folder in (shared / ".runtime", shared / ".runtime" / "provenance"):
        os.chown(folder, ANNA, GROUP)
        folder.chmod(0o2775)
    for number, user in enumerate((ANNA, BERT, BERT, ANNA)):
        by(user, lambda number=number: append(path, [{"n": number}], Roots(str(shared))), umask)
    logs = [Path(path), *(Path(f"{path}.{number}") for number in range(1, 4))]
    lines = [line for log in logs if log.exists() for line in reversed(log.read_text().splitlines())]
    assert [json.loads(line)["n"] for line in lines] == [3, 2, 1, 0]


def test_who_may_not_write_the_folder_writes_nothing(shared):
    path = str(shared / "x.json")
    by(ANNA, lambda: write_atomically(path, b"anna"))
    with pytest.raises(AssertionError, match="StorageError: a file could not be written"):
        by(STRANGER, lambda: write_atomically(path, b"stranger"))
    with open(path, "rb") as file:
        assert file.read() == b"anna"


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_members_share_a_store(shared, umask):
    root = str(shared / "cache")
    by(ANNA, lambda: Store(root).folder("blobs/sha256") and None)

    states = {user: shared.parent / f"state-{user}" for user in (ANNA, BERT)}
    for user, state in states.items():
        state.mkdir(0o700)
        os.chown(state, user, GROUP)

    def put(data):
        store = Store(root)
        with single_flight(store, "a"), Partial.open(store, "a") as partial:
            partial.begin(None)
            partial.write(data)
            store.publish(partial, SHA[data])
        tree = store.make_tree("hf:o/r/x", {"x": SHA[data]})
        files = (StoredFile(name="x", size=len(data), sha256=SHA[data]),)
        store.record(Record(ref="hf:o/r/x", revision=None, files=files, tree=tree))
        note(store, str(states[os.geteuid()]), "/p/models.yaml", [], [])
        return store.recorded("hf:o/r/x").files[0].sha256

    assert by(ANNA, lambda: put(b"model")) == SHA[b"model"]
    assert by(BERT, lambda: put(b"other")) == SHA[b"other"]
    assert by(ANNA, lambda: put(b"model")) == SHA[b"model"]
    assert by(BERT, lambda: Store(root).put_away(SHA[b"model"])).startswith(f"{root}/quarantine/")
    assert by(ANNA, lambda: len(usage_records(Store(root)))) == 2
    for where, _, names in os.walk(root):
        for name in names:
            if name != TAG:
                os.utime(os.path.join(where, name), (1e9, 1e9), follow_symlinks=False)
    by(BERT, lambda: sweep(Store(root)))
    assert os.listdir(f"{root}/locks") == []
    assert KEPT_S == 7 * 24 * 3600


def test_a_store_that_a_stranger_may_only_read_is_read(shared):
    root = str(shared / "cache")
    by(ANNA, lambda: Store(root).folder("refs") and None)
    assert by(STRANGER, lambda: Store(root).recorded("hf:o/r/x")) is None
    with pytest.raises(AssertionError, match="StorageError"):
        by(STRANGER, lambda: Store(root).folder("uses") and None)


def test_what_is_in_the_state_folder_is_of_one_user(shared):
    state = str(shared / "state")

    def lock():
        with locked(state, "hash", "x"):
            pass

    by(ANNA, lock)
    with pytest.raises(AssertionError) as caught:
        by(BERT, lock)
    assert "a lock can't be made in the state folder" in str(caught.value)
