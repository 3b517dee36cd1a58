"""A share of the campaign of faults: one minute, always the same."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_a_minute_of_kills_faults_and_changes_breaks_no_promise():
    if shutil.which("strace") is None and "CI" not in os.environ:
        pytest.skip("needs strace: apt-get install strace")
    command = [sys.executable, ROOT / "scripts" / "campaign.py", "--seed", "12", "--minutes", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("no violation\n")
    rounds = re.search(r"^(\d+) rounds, ", run.stdout, re.MULTILINE)
    assert int(rounds[1]) > 0
