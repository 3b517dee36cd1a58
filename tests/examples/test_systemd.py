"""The nightly audit and the metrics: systemd understands the units, and what they run is of what the project's runs verified."""

import configparser
import re
import shlex
import shutil
import subprocess

import pytest

from tests.examples.conftest import EXAMPLES

UNITS = EXAMPLES / "systemd"
SERVICE, TIMER = UNITS / "model-audit.service", UNITS / "model-audit.timer"
METRICS = UNITS / "model-metrics.service"


def section(path, name):
    """Return the settings of a section, each with all its values."""
    found = configparser.RawConfigParser(strict=False, interpolation=None)
    text = re.sub(r"^Environment=", lambda _, n=iter(range(9)): f"Environment{next(n)}=", path.read_text(), flags=re.M)
    found.optionxform = str
    found.read_string(text)
    return dict(found[name])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_no_fault(tmp_path):
    units = sorted(UNITS.iterdir())
    for path in units:
        text = path.read_text().replace("/opt/model-provisioner/bin/model-provisioner", "/bin/true")
        (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(tmp_path / path.name for path in units)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in run.stderr.splitlines() if any(path.name in line for path in units)]
    assert (run.returncode, told) == (0, [])
    calendar = ["systemd-analyze", "calendar", section(TIMER, "Timer")["OnCalendar"]]
    assert subprocess.run(calendar, capture_output=True, check=False).returncode == 0


def test_the_audit_is_of_the_state_and_store_of_the_runs(checkout):
    service = section(SERVICE, "Service")
    environ = dict(value.split("=", 1) for name, value in service.items() if name.startswith("Environment"))
    place = environ.pop("MODEL_PROVISIONER_STATE_DIR")
    assert place == f"/var/lib/{service['StateDirectory']}", "the folder that systemd makes for it"
    assert service["StateDirectoryMode"] == "0700"
    assert environ.pop("MODEL_PROVISIONER_CACHE_DIR").startswith(service["ReadWritePaths"])
    assert service["WorkingDirectory"] == service["ReadWritePaths"], "handoffs are written there"
    assert environ == {}

    _, *words = shlex.split(service["ExecStart"])
    checkout.program("provision")
    assert "1 model: 1 passed" in checkout.program(*words).out
    (checkout.root / "models/tiny.gguf").write_bytes(b"rotten")
    assert "FAIL  tiny" in checkout.program("provision", code=1).all
    assert checkout.program(*words, code=1).code == 1, "the unit fails as long as the model does"


def test_the_metrics_are_of_the_state_of_the_audit_and_lie_where_the_exporter_reads_them(checkout):
    service, audit = section(METRICS, "Service"), section(SERVICE, "Service")
    for name in ("User", "StateDirectory", "StateDirectoryMode", "Environment0", "Environment1"):
        assert service[name] == audit[name]
    _, *words, file = shlex.split(service["ExecStart"])
    folder, name = file.rsplit("/", 1)
    assert (folder, service["RuntimeDirectoryPreserve"]) == (f"/run/{service['RuntimeDirectory']}", "yes")
    assert f"--collector.textfile.directory={folder}" in METRICS.read_text()
    rules = (EXAMPLES / "prometheus" / "model-provisioner.rules.yml").read_text()
    assert f'node_textfile_mtime_seconds{{file=~".*/{name}"}}' in rules

    checkout.program("provision")
    checkout.program(*words, str(checkout.root / name))
    written = checkout.root / name
    assert 'state="Active"} 1' in written.read_text()
    assert written.stat().st_mode & 0o444 == 0o444, "the exporter is another user"
