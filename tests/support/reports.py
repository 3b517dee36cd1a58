"""Reports of models that nobody has to provision, for what a page makes of many or odd ones."""

from __future__ import annotations

from typing import Any

from model_provisioner.operations.model_report import ModelReport
from model_provisioner.operations.report import Report
from model_provisioner.records.catalog.catalog import Model

DIGEST = "sha256:" + "a" * 64
VERIFIED_AT = "2026-01-01T00:00:00Z"


def a_row(name: str, **fields: Any) -> Model:
    """Return what the catalog has of a model that was verified."""
    known = {"lifecycle": "Active", "outcome": "pass", "digest": DIGEST, "size": 4096, "verified_at": VERIFIED_AT}
    return Model(**{"project": "/srv/p", "name": name, "id": f"local:/srv/p/{name}.gguf", **known, **fields})


def a_model(name: str, number: int = 0, **fields: Any) -> ModelReport:
    """Return a model that is verified, pinned and handed off, but for `fields`; `number` makes its file its own."""
    known: dict[str, Any] = {
        "entry": None,
        "reference": f"local:/srv/p/models/{name}.gguf",
        "path": f"/srv/p/models/{name}.gguf",
        "engine": "llamacpp",
        "handoff": f"/srv/p/.runtime/engines/{name}.json",
        "handoff_state": "confirmed",
        "expected": DIGEST,
        "row": a_row(name),
        "files": {(1, number): 1000 + number},
        "trouble": None,
        "fault": None,
        "reasons": (),
        "fetched": False,
        "last": None,
        "hashed": None,
        "companions": (),
        "signature": None,
        "history": (),
    }
    return ModelReport(name=name, **{**known, **fields})


def a_failed_model(name: str, number: int = 0) -> ModelReport:
    """Return a model whose last verification failed."""
    reason = (
        "the digest differs from what is expected\n"
        f"  where     /srv/p/models/{name}.gguf\n"
        f"  expected  {DIGEST}\n"
        f"  found     sha256:{'b' * 64}\n"
        f'  fix       get the file again from its source; if these bytes are right, put   expected_digest: "sha256:{"b" * 64}"'
        "   into models.yaml"
    )
    row = a_row(name, lifecycle="Failed", outcome="fail", digest="sha256:" + "b" * 64, reason=reason)
    return a_model(name, number, row=row, handoff_state="none")


def a_report(*models: ModelReport) -> Report:
    """Return the report of a project of these models."""
    return Report("/srv/p/models.yaml", "/srv/p", VERIFIED_AT, tuple(sorted(models, key=lambda each: each.name)), ())
