"""What is to be added, how, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model_provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_provisioner.config.entries import Locked
    from model_provisioner.engine.events import Progress
    from model_provisioner.operations.adding.offers import Choice
    from model_provisioner.references.reference import HubRef, ModelRef


@dataclass(frozen=True)
class Asked:
    """A model that is to be added."""

    ref: ModelRef
    """Absolute where it is local."""
    written: str
    """The reference as `models.yaml` is to have it."""
    name: str | None = None
    """None: it is made of the reference."""

    @property
    def shown(self) -> str:
        """The reference without credentials."""
        return self.written if self.ref.is_local else self.ref.texts[0]


@dataclass(frozen=True)
class Added:
    """A model that was added, or would be."""

    name: str
    ref: str
    """The reference, without credentials."""
    locked: Locked | None
    """None where it would have to be fetched to know what it is, and nothing is to be written."""


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What was added to a project, or would be."""

    path: str
    """Of `models.yaml`."""
    added: tuple[Added, ...]
    there: tuple[tuple[str, str], ...]
    """Names of entries, and the references that were asked for and that they have already."""
    failed: tuple[tuple[str, ProvisionError], ...]
    """References, and why they were not added."""
    hosts: tuple[str, ...]
    """What was added to `network.allow`."""
    files: tuple[tuple[str, bytes, bytes], ...]
    """The files that changed: path, bytes before, bytes after."""
    secrets: tuple[tuple[str, str], ...]
    """References in them that hold credentials, and how they are shown."""


@dataclass(kw_only=True)
class Findings:
    """What one call found out, which holds when it begins anew."""

    locked: dict[ModelRef, Locked | ProvisionError | None] = field(default_factory=dict)
    """What each reference is, or why it can't be added; None where it would have to be fetched to tell."""
    chosen: dict[ModelRef, Asked] = field(default_factory=dict)
    """Of a repository, which of its GGUFs was chosen."""

    def error(self, asked: Asked) -> ProvisionError | None:
        """Return why a model can't be added, None where nothing keeps it."""
        found = self.locked.get(asked.ref)
        return found if isinstance(found, ProvisionError) else None


@dataclass(frozen=True, kw_only=True)
class Options:
    """How models are added."""

    choose: Callable[[HubRef, Sequence[Choice]], Choice]
    """Is asked for one of several GGUFs of a repository; it raises to give up."""
    progress: Progress
    engine: str | None = None
    """Who is to load them; None for what `models.yaml` says."""
    allow: bool = False
    """Whether the hosts of the models may be contacted from now on."""
    dry_run: bool = False
