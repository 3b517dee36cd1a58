"""The metrics of a host as OpenMetrics text, which a node exporter's textfile collector reads as well.

What each series means stands in `docs/reference/metrics.md`. The collector knows the older Prometheus format: it takes `# UNIT`
and `# EOF` for comments, and a counter, whose type OpenMetrics names without `_total`, for one of unknown type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from model_provisioner.errors import printable
from model_provisioner.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from model_provisioner.operations.metrics import HostMetrics
    from model_provisioner.records.lifecycle import Lifecycle

_STATES: tuple[Lifecycle, ...] = ("Pending", "Active", "Failed", "Retired")
_OUTCOMES = ("pass", "warn", "fail", "error")
_BEGIN = b"# HELP model_provisioner_"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Family:
    """One metric, with its samples by their labels."""

    name: str
    """Without the prefix, and of a counter without `_total`."""
    kind: Literal["gauge", "counter"]
    help: str
    samples: Mapping[Labels, int]

    def lines(self, common: Labels) -> Iterator[str]:
        """Yield the lines of text, with the labels that all samples have; none where there is no sample."""
        if not self.samples:
            return
        name = f"model_provisioner_{self.name}"
        yield f"# HELP {name} {self.help}"
        yield f"# TYPE {name} {self.kind}"
        if (unit := name.rpartition("_")[2]) in {"bytes", "seconds"}:
            yield f"# UNIT {name} {unit}"
        suffix = "_total" if self.kind == "counter" else ""
        told: dict[str, int] = {}
        for labels, value in self.samples.items():
            told.setdefault(_told((*common, *labels)), value)  # twice the same is an error; what failed comes first
        yield from (f"{name}{suffix}{{{labels}}} {value}" for labels, value in told.items())


def openmetrics(found: HostMetrics) -> bytes:
    """Return the metrics as text, in UTF-8."""
    common = (("user", found.user),)
    lines = [line for family in _families(found) for line in family.lines(common)]
    return "\n".join((*lines, "# EOF", "")).encode()


def is_openmetrics(data: bytes) -> bool:
    """Tell of the first bytes of a file whether they are metrics of ours, of any version."""
    return data.startswith(_BEGIN)


def _families(found: HostMetrics) -> Iterator[_Family]:
    models = [((("project", each.project), ("model", each.name)), each) for each in found.models]
    projects = [((("project", each.root),), each) for each in found.projects]
    stores = [((("store", each.path),), each) for each in found.stores]
    yield _Family(
        "build_info", "gauge", "The version of model-provisioner that wrote this.", {(("version", __version__),): 1}
    )
    yield _Family(
        "models",
        "gauge",
        "Models of this user's projects by state.",
        {(("state", state),): found.states.get(state, 0) for state in _STATES},
    )
    yield _Family(
        "model_failed",
        "gauge",
        "1 where the last attempt to fetch or verify a model failed, else 0.",
        {labels: int(each.failed) for labels, each in models},
    )
    yield _Family(
        "model_bytes",
        "gauge",
        "Size of a model's files when they were last verified.",
        _known((labels, each.size) for labels, each in models),
    )
    yield _Family(
        "model_audit_timestamp_seconds",
        "gauge",
        "When every byte of a model was last hashed with SHA-256, 0 for never.",
        _known((labels, each.audited) for labels, each in models),
    )
    yield _Family(
        "models_unlisted",
        "gauge",
        "Models that have no series of their own, because there are too many.",
        {(): found.unlisted},
    )
    yield _Family(
        "oldest_audit_timestamp_seconds",
        "gauge",
        "When every byte of the model that was not hashed for longest was last hashed, 0 for never.",
        _known([((), found.oldest_audit)]),
    )
    yield _Family(
        "verifications",
        "counter",
        "Verifications of models by outcome.",
        {(("outcome", outcome),): found.verifications.get(outcome, 0) for outcome in _OUTCOMES},
    )
    yield _Family("fetched_bytes", "counter", "Bytes of files that came from sources.", {(): found.fetched_bytes})
    yield _Family(
        "store_bytes", "gauge", "Size of the files in a store.", {labels: each.size for labels, each in stores}
    )
    yield _Family(
        "store_limit_bytes",
        "gauge",
        "The lowest cache.max_size that a project sets for a store.",
        _known((labels, each.limit) for labels, each in stores),
    )
    yield _Family(
        "last_run_timestamp_seconds",
        "gauge",
        "When a project's last run of provision ended.",
        _known((labels, each.last_run) for labels, each in projects),
    )
    yield _Family(
        "entries_without_handoff",
        "gauge",
        "Entries of a project that have no handoff and are not retired.",
        _known((labels, each.without_handoff) for labels, each in projects),
    )
    yield _Family(
        "unreadable_configurations",
        "gauge",
        "Configurations of this user's projects that can't be read or have faults.",
        {(): found.unreadable},
    )


def _known(samples: Iterable[tuple[Labels, int | None]]) -> dict[Labels, int]:
    return {labels: value for labels, value in samples if value is not None}


def _told(labels: Labels) -> str:
    """Return labels as they stand in a line: what is not printable is shown as an escape sequence."""
    values = ((label, printable(text).replace("\\", "\\\\").replace('"', '\\"')) for label, text in labels)
    return ",".join(f'{label}="{value}"' for label, value in values)
