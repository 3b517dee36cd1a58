"""The fleet on one machine: real services, three hosts, one mirror, one killed worker, one flipped bit."""

import re
import subprocess
import sys

import pytest

from tests.examples.conftest import EXAMPLES


@pytest.mark.slow
def test_a_fleet_is_provisioned_from_one_mirror_and_finds_a_flipped_bit(tmp_path):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "fleet/demo.py", tmp_path / "fleet"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    told = run.stdout
    assert (run.returncode, run.stderr) == (0, ""), told
    assert re.findall(r"  ok: (.*)", told)[:1] == ["the source was asked 4 times, once a model"]
    assert len(re.findall(r"^node-[bc]\$ .*provision\n(?:  .*\n)*?  4 models: 4 done", told, re.M)) == 2
    assert told.count(": 4 models new or changed, 0 removed") == 3
    (damaged,) = re.findall(r"  FAIL  blob ([0-9a-f]{12})  a fetched file is damaged", told)
    assert f"the audit names the damaged file, sha256:{damaged}" in told
    assert "4 blobs: 3 whole, 1 damaged" in told
    assert re.search(rf"^  node-b  .*  Failed  fail .*  {damaged}  ", told, re.M)
    assert re.search(
        r"^node-b\$ MODEL_PROVISIONER_MIRRORS=oci:\S+ model-provisioner provision\n.*fetching .* from oci:", told, re.M
    ), "again, from the mirror"
    assert [line.split()[3] for line in re.findall(r"^  node-[abc] .* ago$", told, re.M)[-3:]] == ["0", "0", "0"]
