"""The alerts: Prometheus finds no fault in the rules, they are of metrics that there are, and each fires when it should."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.cli.test_openmetrics import TEXT
from tests.examples.conftest import EXAMPLES

RULES = EXAMPLES / "prometheus" / "model-provisioner.rules.yml"
ALERTS = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
HOST = 'user="models",instance="gpu1"'
DAY = 24
"""Samples, one an hour."""
FIRING = {
    "ModelFailed": {f'model_provisioner_model_failed{{{HOST},project="/p",model="m"}}': "1x2"},
    "ModelsFailedUnlisted": {f'model_provisioner_models{{{HOST},state="Failed"}}': "1001x2"},
    "ModelWithoutHandoff": {f'model_provisioner_entries_without_handoff{{{HOST},project="/p"}}': "1x2"},
    "ModelsNotAudited": {f"model_provisioner_oldest_audit_timestamp_seconds{{{HOST}}}": f"60x{36 * DAY}"},
    "ProvisionDoesNotRun": {f'model_provisioner_last_run_timestamp_seconds{{{HOST},project="/p"}}': f"60x{3 * DAY}"},
    "ModelStoreFull": {
        f'model_provisioner_store_bytes{{{HOST},store="/s"}}': "96x2",
        f'model_provisioner_store_limit_bytes{{{HOST},store="/s"}}': "100x2",
    },
    "ModelsFetchedAgainAndAgain": {
        f"model_provisioner_fetched_bytes_total{{{HOST}}}": f"0+60x{2 * DAY}",
        f'model_provisioner_store_bytes{{{HOST},store="/s"}}': f"700x{2 * DAY}",
    },
    "ModelConfigurationBroken": {f"model_provisioner_unreadable_configurations{{{HOST}}}": "1x2"},
    "ModelMetricsOld": {'node_textfile_mtime_seconds{file="/var/x/model_provisioner.prom"}': "60x2"},
}
"""For each alert the series under whose last sample it fires: `1x2` is the value 1, and twice more."""
WELL = {
    f'model_provisioner_model_failed{{{HOST},project="/p",model="m"}}': f"0x{2 * DAY}",
    f'model_provisioner_models{{{HOST},state="Failed"}}': f"0x{2 * DAY}",
    f'model_provisioner_entries_without_handoff{{{HOST},project="/p"}}': f"0x{2 * DAY}",
    f"model_provisioner_oldest_audit_timestamp_seconds{{{HOST}}}": f"60x{2 * DAY}",
    f'model_provisioner_last_run_timestamp_seconds{{{HOST},project="/p"}}': f"0+3600x{2 * DAY}",
    f'model_provisioner_store_bytes{{{HOST},store="/s"}}': f"900x{2 * DAY}",
    f'model_provisioner_store_limit_bytes{{{HOST},store="/s"}}': f"1000x{2 * DAY}",
    f"model_provisioner_fetched_bytes_total{{{HOST}}}": f"0+60x{2 * DAY}",
    f"model_provisioner_unreadable_configurations{{{HOST}}}": f"0x{2 * DAY}",
    'node_textfile_mtime_seconds{file="/var/x/model_provisioner.prom"}': f"0+3600x{2 * DAY}",
}
"""A host on which all is well for two days."""


def test_every_alert_is_of_metrics_that_there_are():
    written = set(re.findall(r"^(model_provisioner_\w+)\{", TEXT, re.MULTILINE))
    for name, rule in ALERTS.items():
        asked = set(re.findall(r"model_provisioner_\w+", rule["expr"]))
        assert asked <= written, name
    assert ALERTS.keys() == FIRING.keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_every_alert_fires_when_it_should_and_none_where_all_is_well(tmp_path):
    def firing(series, alerts):
        hours = max(int(values.rpartition("x")[2]) for values in series.values())
        named = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
        count = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{hours}h",
            "exp_samples": named,
        }
        given = [{"series": name, "values": values} for name, values in series.items()]
        return {"interval": "1h", "input_series": given, "promql_expr_test": [count]}

    tests = [firing(series, [alert]) for alert, series in FIRING.items()] + [firing(WELL, [])]
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1h", "tests": tests}))
    for command in (["check", "rules", RULES], ["test", "rules", file]):
        run = subprocess.run(["promtool", *command], capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
