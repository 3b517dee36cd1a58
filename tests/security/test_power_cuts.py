"""Power cuts: models on one disk, project and state on another, and both stop at any moment of a run.

After the start a run never confirms bytes that are not those of the digest, and what a run said before the cut holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disks import Disk, ext4, need_mounts
from tests.support.project import TINY, Project, settle_in_every_process

GOOD = TINY.read_bytes()
BAD = GOOD[:-64] + bytes(64)
"""Another model of the same size, with the same header."""
NAMES = [f"m{number}" for number in range(6)]


@dataclass
class Machine:
    """A machine with two disks. Odd models have an `expected_digest`."""

    models: Disk
    system: Disk
    project: Project

    def start(self) -> None:
        for disk in (self.models, self.system):
            disk.mount()

    def cut(self, order: list[Disk] | None = None) -> None:
        for disk in order or [self.models, self.system]:
            disk.cut()

    def stop(self) -> None:
        for disk in (self.models, self.system):
            disk.unmount()

    def restart(self) -> None:
        self.cut()
        self.stop()
        self.start()

    def model(self, name: str) -> Path:
        return self.models.at / f"{name}.gguf"

    def handoffs(self) -> dict[str, tuple[str, str]]:
        """Return the digest that each handoff names, and the one that its bytes have."""
        found = {}
        for path in (self.project.root / ".runtime/engines").glob("*.json"):
            said = json.loads(path.read_bytes())
            bytes_there = Path(said["model"]["path"]).read_bytes()
            found[path.stem] = said["metadata"]["digest"]["value"], hashlib.sha256(bytes_there).hexdigest()
        return found

    def overwrite(self, name: str, data: bytes) -> None:
        """Write other bytes in place: the file's size stays, its times move, and nothing is synced."""
        with self.model(name).open("r+b") as file:
            file.write(data)


@pytest.fixture
def machine(tmp_path):
    need_mounts("mkfs.ext4")
    with ExitStack() as stack:
        models, system = (stack.enter_context(ext4(tmp_path, name)) for name in ("models", "system"))
        project = Project(system.at / "project", system.at / "state", {"HOME": str(system.at)})
        machine = Machine(models, system, project)
        good = hashlib.sha256(GOOD).hexdigest()
        entries = {}
        for number, name in enumerate(NAMES):
            machine.model(name).write_bytes(GOOD)
            entries[name] = {"model_ref": f"file:{machine.model(name)}"}
            if number % 2:
                entries[name]["expected_digest"] = f"sha256:{good}"
        project.write(
            "models.yaml",
            json.dumps({"defaults": {"handoff": "{runtime_dir}/engines/{name}.json"}, "models": entries}),
        )
        os.sync()
        yield machine


def test_bytes_that_failed_before_a_cut_do_not_pass_after_it(machine):
    """The bytes came to the disk, and their times with them; nor does the memo say what they were before."""
    settle_in_every_process()
    machine.project.process("provision")
    os.sync()
    for name in NAMES:
        machine.overwrite(name, BAD)
    answer = machine.project.process("provision", code=1)
    assert answer.out.count("FAIL") == len(NAMES) // 2, answer
    machine.restart()
    assert {machine.model(name).read_bytes() == BAD for name in NAMES} == {True}
    assert "by stat" not in machine.project.process("provision", code=1).out
    assert machine.handoffs().keys() == set(NAMES[::2])
    assert all(said == there for said, there in machine.handoffs().values())


def test_what_a_run_said_holds_after_a_cut(machine):
    settle_in_every_process()
    machine.project.process("provision")
    machine.restart()
    assert machine.handoffs().keys() == set(NAMES)
    assert {row["state"] for row in machine.project.rows().values()} == {"Active"}
    answer = machine.project.process("provision")
    assert "6 models: 6 current" in answer.out, answer


def test_a_lock_that_was_written_is_there_after_a_cut(machine):
    machine.project.process("model-lock")
    machine.restart()
    assert set(NAMES) <= set(re.findall("m\\d", (machine.project.root / "models.lock").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [8, pytest.param(100, marks=pytest.mark.long)])
def test_no_cut_at_any_moment_makes_bytes_pass_that_are_others(machine, cuts):
    chance = random.Random(cuts)
    settle_in_every_process()
    began = time.monotonic()
    machine.project.process("provision")
    longest = 1.2 * (time.monotonic() - began)
    for _ in range(cuts):
        os.sync()
        for name in chance.sample(NAMES, 4):
            change(machine, name, chance)
        with machine.project.start(
            *chance.choice([("provision",), ("provision", "--full"), ("model-check",)])
        ) as process:
            time.sleep(chance.uniform(0, longest))
            machine.cut(chance.sample([machine.models, machine.system], 2))
            out, err = process.communicate(timeout=60)
        assert b"Traceback" not in out + err, (out, err)
        machine.stop()
        machine.start()
        check(machine)


def change(machine: Machine, name: str, chance: random.Random) -> None:
    """Do to a model what users do, without a sync."""
    data = chance.choice([GOOD, BAD])
    kind = chance.choice(["overwrite", "overwrite", "replace", "touch"])
    if kind == "overwrite":
        machine.overwrite(name, data)
    elif kind == "replace":
        new = machine.model(f"{name}.new")
        new.write_bytes(data)
        new.rename(machine.model(name))
    else:
        os.utime(machine.model(name))


def check(machine: Machine) -> None:
    """Hold that every handoff which a run leaves names the bytes that are there, under the policy."""
    answer = machine.project.process("provision", code=None)
    assert answer.code in {0, 1}, answer
    good = hashlib.sha256(GOOD).hexdigest()
    handoffs = machine.handoffs()
    for number, name in enumerate(NAMES):
        there = hashlib.sha256(machine.model(name).read_bytes()).hexdigest()
        if name in handoffs:
            assert handoffs[name] == (there, there), (name, answer)
            assert number % 2 == 0 or there == good, (name, answer)
        else:
            assert there != good, (name, answer)
