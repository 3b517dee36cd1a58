"""The text of `report --metrics`: OpenMetrics, which a node exporter's textfile collector takes as well."""

import os
import pwd
import shutil
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_of
from prometheus_client.parser import text_string_to_metric_families as prometheus_of

from model_provisioner.cli.openmetrics import openmetrics
from model_provisioner.operations.metrics import HostMetrics, ModelMetrics, ProjectMetrics, StoreMetrics
from model_provisioner.version import __version__
from tests.support.project import document

ODD = 'a "project"\\ of\nnobody\udc80é'
FULL = HostMetrics(
    user="models",
    states={"Active": 2, "Failed": 1},
    models=[
        ModelMetrics(project=ODD, name="bad", failed=True, size=None, audited=None),
        ModelMetrics(project=ODD, name="good", failed=False, size=5 << 40, audited=0),
    ],
    unlisted=1,
    oldest_audit=0,
    projects=[ProjectMetrics(root=ODD, last_run=1_800_000_000, without_handoff=1)],
    unreadable=0,
    stores=[StoreMetrics(path="/srv/store", size=7, limit=9)],
    verifications={"pass": 3},
    fetched_bytes=11,
)
PROJECT = 'project="a \\"project\\"\\\\ of\\\\nnobody\\\\udc80é"'
TEXT = f"""\
# HELP model_provisioner_build_info The version of model-provisioner that wrote this.
# TYPE model_provisioner_build_info gauge
model_provisioner_build_info{{user="models",version="{__version__}"}} 1
# HELP model_provisioner_models Models of this user's projects by state.
# TYPE model_provisioner_models gauge
model_provisioner_models{{user="models",state="Pending"}} 0
model_provisioner_models{{user="models",state="Active"}} 2
model_provisioner_models{{user="models",state="Failed"}} 1
model_provisioner_models{{user="models",state="Retired"}} 0
# HELP model_provisioner_model_failed 1 where the last attempt to fetch or verify a model failed, else 0.
# TYPE model_provisioner_model_failed gauge
model_provisioner_model_failed{{user="models",{PROJECT},model="bad"}} 1
model_provisioner_model_failed{{user="models",{PROJECT},model="good"}} 0
# HELP model_provisioner_model_bytes Size of a model's files when they were last verified.
# TYPE model_provisioner_model_bytes gauge
# UNIT model_provisioner_model_bytes bytes
model_provisioner_model_bytes{{user="models",{PROJECT},model="good"}} 5497558138880
# HELP model_provisioner_model_audit_timestamp_seconds When every byte of a model was last hashed with SHA-256, 0 for never.
# TYPE model_provisioner_model_audit_timestamp_seconds gauge
# UNIT model_provisioner_model_audit_timestamp_seconds seconds
model_provisioner_model_audit_timestamp_seconds{{user="models",{PROJECT},model="good"}} 0
# HELP model_provisioner_models_unlisted Models that have no series of their own, because there are too many.
# TYPE model_provisioner_models_unlisted gauge
model_provisioner_models_unlisted{{user="models"}} 1
# HELP model_provisioner_oldest_audit_timestamp_seconds When every byte of the model that was not hashed for longest was last hashed, 0 for never.
# TYPE model_provisioner_oldest_audit_timestamp_seconds gauge
# UNIT model_provisioner_oldest_audit_timestamp_seconds seconds
model_provisioner_oldest_audit_timestamp_seconds{{user="models"}} 0
# HELP model_provisioner_verifications Verifications of models by outcome.
# TYPE model_provisioner_verifications counter
model_provisioner_verifications_total{{user="models",outcome="pass"}} 3
model_provisioner_verifications_total{{user="models",outcome="warn"}} 0
model_provisioner_verifications_total{{user="models",outcome="fail"}} 0
model_provisioner_verifications_total{{user="models",outcome="error"}} 0
# HELP model_provisioner_fetched_bytes Bytes of files that came from sources.
# TYPE model_provisioner_fetched_bytes counter
# UNIT model_provisioner_fetched_bytes bytes
model_provisioner_fetched_bytes_total{{user="models"}} 11
# HELP model_provisioner_store_bytes Size of the files in a store.
# TYPE model_provisioner_store_bytes gauge
# UNIT model_provisioner_store_bytes bytes
model_provisioner_store_bytes{{user="models",store="/srv/store"}} 7
# HELP model_provisioner_store_limit_bytes The lowest cache.max_size that a project sets for a store.
# TYPE model_provisioner_store_limit_bytes gauge
# UNIT model_provisioner_store_limit_bytes bytes
model_provisioner_store_limit_bytes{{user="models",store="/srv/store"}} 9
# HELP model_provisioner_last_run_timestamp_seconds When a project's last run of provision ended.
# TYPE model_provisioner_last_run_timestamp_seconds gauge
# UNIT model_provisioner_last_run_timestamp_seconds seconds
model_provisioner_last_run_timestamp_seconds{{user="models",{PROJECT}}} 1800000000
# HELP model_provisioner_entries_without_handoff Entries of a project that have no handoff and are not retired.
# TYPE model_provisioner_entries_without_handoff gauge
model_provisioner_entries_without_handoff{{user="models",{PROJECT}}} 1
# HELP model_provisioner_unreadable_configurations Configurations of this user's projects that can't be read or have faults.
# TYPE model_provisioner_unreadable_configurations gauge
model_provisioner_unreadable_configurations{{user="models"}} 0
# EOF
"""


USER = ("user", pwd.getpwuid(os.geteuid()).pw_name)


def samples(families):
    """Return the samples of metrics, by name and labels, as numbers."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_text_to_the_letter():
    assert openmetrics(FULL).decode() == TEXT


def test_a_parser_of_openmetrics_reads_types_units_and_labels():
    families = {family.name.removeprefix("model_provisioner_"): family for family in openmetrics_of(TEXT)}
    assert {name for name, each in families.items() if each.type == "counter"} == {"verifications", "fetched_bytes"}
    assert {each.type for each in families.values()} == {"gauge", "counter"}
    assert families["fetched_bytes"].unit == "bytes"
    assert families["last_run_timestamp_seconds"].unit == "seconds"
    (sample,) = families["last_run_timestamp_seconds"].samples
    assert sample.labels == {"user": "models", "project": 'a "project"\\ of\\nnobody\\udc80é'}, (
        "what can't be printed is shown escaped"
    )


def test_a_parser_of_the_older_format_reads_the_same_numbers():
    assert samples(prometheus_of(TEXT)) == samples(openmetrics_of(TEXT))


def test_two_folders_whose_names_look_alike_do_not_make_it_invalid():
    alike = [ProjectMetrics(root=root, last_run=1, without_handoff=0) for root in ("/a\udc80", "/a\\udc80")]
    families = {family.name: family for family in openmetrics_of(openmetrics(replace(FULL, projects=alike)).decode())}
    assert len(families["model_provisioner_last_run_timestamp_seconds"].samples) == 1


def test_a_model_whose_name_looks_like_that_of_a_failed_one_does_not_hide_it():
    good = ModelMetrics(project="/p", name="a\\u200b", failed=False, size=1, audited=1)
    text = openmetrics(replace(FULL, models=[replace(good, name="a\u200b", failed=True), good])).decode()
    found = samples(openmetrics_of(text))
    (failed,) = [value for (name, _), value in found.items() if name == "model_provisioner_model_failed"]
    assert failed == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_has_nothing_against_it_but_the_name_of_a_counter_which_openmetrics_wants_so():
    run = subprocess.run(
        ["promtool", "check", "metrics"], input=TEXT.encode(), capture_output=True, timeout=60, check=False
    )
    assert run.stderr.decode().splitlines() == [
        "model_provisioner_fetched_bytes_total no help text",
        "model_provisioner_verifications_total no help text",
    ]


@pytest.fixture
def exporter(tmp_path):
    """A node exporter that collects the text files of a folder, and its URL."""
    folder = tmp_path / "textfile"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile"]
    command += [f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield folder, f"http://127.0.0.1:{port}/metrics"
        finally:
            process.kill()


def scraped(url):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError):
            return urllib.request.urlopen(url, timeout=10).read().decode()
        time.sleep(0.02)
    pytest.fail("the exporter does not answer")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus-node-exporter") is None, reason="needs prometheus-node-exporter")
def test_a_node_exporter_passes_on_what_the_command_wrote(exporter, project):
    folder, url = exporter
    project.add_tiny()
    project.models("models: {tiny: {model_ref: 'file:models/tiny.gguf'}}")
    project.program("provision")
    answer = project.program("report", "--metrics", "-o", str(folder / "model_provisioner.prom"))
    assert answer.out.endswith("model_provisioner.prom: 1 model\n")
    found = samples(prometheus_of(scraped(url)))
    assert found["node_textfile_scrape_error", ()] == 0
    assert found["model_provisioner_models", (("state", "Active"), USER)] == 1
    assert found["model_provisioner_verifications_total", (("outcome", "warn"), USER)] == 1


# ---- the command


def test_without_a_file_it_is_printed_and_no_project_is_needed(project):
    text = project.program("report", "--metrics").out
    assert samples(openmetrics_of(text))["model_provisioner_models", (("state", "Active"), USER)] == 0
    assert os.listdir(project.root) == []
    assert project.program("report", "--metrics", "-o", "-").out == text


def test_a_file_is_replaced_if_it_is_one_of_ours(project):
    project.program("report", "--metrics", "-o", "x.prom")
    project.program("report", "--metrics", "-o", "x.prom")
    project.write("x.prom", "# HELP node_boot_time_seconds Of another.\n")
    answer = project.program("report", "--metrics", "-o", "x.prom", code=3)
    assert "report can't write what -o names" in answer.err
    project.program("report", "--metrics", "-o", "x.prom", "--force")
    assert (project.root / "x.prom").read_bytes().startswith(b"# HELP model_provisioner_build_info")
    assert "found     something else" in project.program("report", "-o", "x.prom", code=3).err, (
        "a page is another thing"
    )


@pytest.mark.parametrize("other", [["--presets", "models.ini"], ["--json"]])
def test_it_is_no_page_and_no_document(project, other):
    answer = project.program("report", "--metrics", *other, code=3)
    (error,) = document(answer)["errors"] if "--json" in other else [{"what": answer.err.splitlines()[0]}]
    assert error["what"].removeprefix("ERROR: ") == "--metrics is a text of its own, and no page"


def test_where_the_records_can_not_be_read_the_old_file_stays(project):
    project.program("report", "--metrics", "-o", "x.prom")
    before = (project.root / "x.prom").stat().st_mtime_ns
    project.state.mkdir(mode=0o700, exist_ok=True)
    (project.state / "catalog.db").write_bytes(b"no database, and long enough that SQLite looks at it" * 100)
    assert (
        "the catalog is damaged or not a database" in project.program("report", "--metrics", "-o", "x.prom", code=2).err
    )
    assert (project.root / "x.prom").stat().st_mtime_ns == before, "its age tells who watches it"
