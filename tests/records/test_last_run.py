"""When a project's last run ended."""

import os
import stat
import time

from model_provisioner.fs.state_folder import project_folder
from model_provisioner.records.last_run import NAME, last_end, note_end


def test_the_end_of_each_run_is_noted(tmp_path):
    state = str(tmp_path)
    assert last_end(state, "/p") is None
    note_end(state, "/p")
    path = os.path.join(project_folder(state, "/p"), NAME)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.utime(path, (1e9, 1e9))
    assert last_end(state, "/p") == 1_000_000_000
    note_end(state, "/p")
    assert abs(last_end(state, "/p") - time.time()) < 60
    assert last_end(state, "/other") is None


def test_a_link_in_its_place_is_not_followed(tmp_path):
    state, other = str(tmp_path / "state"), tmp_path / "other"
    other.write_bytes(b"")
    os.utime(other, (1e9, 1e9))
    folder = project_folder(state, "/p")
    os.makedirs(folder, mode=0o700)
    os.symlink(other, os.path.join(folder, NAME))
    note_end(state, "/p")
    assert other.stat().st_mtime == 1e9


def test_where_it_can_not_be_noted_nothing_is_said(tmp_path):
    state = tmp_path / "state"
    state.write_bytes(b"a file")
    note_end(str(state), "/p")
    assert last_end(str(state), "/p") is None
