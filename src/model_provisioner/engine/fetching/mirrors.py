"""The mirrors of one run: which of them are still asked, and what was told of their trouble."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

from model_provisioner.engine.events import MirrorFails
from model_provisioner.errors import FetchError, MissingExtraError, NotAllowedError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from model_provisioner.engine.events import Progress
    from model_provisioner.errors import ProvisionError
    from model_provisioner.references.mirror import Mirror

FAILURES = 3
"""After how many files that a mirror did not bring, though it may have them, it is not asked again in a run."""
_LACKS = {404, 410}


class Mirrors:
    """Remembers what became of each mirror; threads may share one.

    A mirror's trouble is told once a run, and one that fails again and again, or lies, is left out of the rest of the run.
    """

    def __init__(self, mirrors: Iterable[Mirror] = ()) -> None:
        self._mirrors = tuple(mirrors)
        self._lock = Lock()
        self._failures: Counter[Mirror] = Counter()
        self._told: dict[tuple[Mirror, bool], str] = {}
        """What was told, by the mirror and whether it but lacked something."""

    @property
    def live(self) -> list[Mirror]:
        """Those that are asked, in their order."""
        return [each for each in self._mirrors if self._failures[each] < FAILURES]

    def note(self, mirror: Mirror, error: ProvisionError, progress: Progress) -> None:
        """Note that a file did not come from a mirror, and tell `progress`, if that is news of this mirror."""
        is_lacking = isinstance(error, FetchError) and error.status in _LACKS
        with self._lock:
            if not is_lacking:
                self._failures[mirror] += FAILURES if _is_hopeless(error) else 1
            news = (mirror, is_lacking) not in self._told
            why = self._told.setdefault((mirror, is_lacking), _why(error, is_lacking=is_lacking))
        if news:
            progress(MirrorFails(str(mirror), why))

    def mention_in(self, error: ProvisionError) -> None:
        """Let the error of a source, which is asked last, also say what trouble the mirrors were in."""
        with self._lock:
            told = "; ".join(f"{mirror}: {why}" for (mirror, _), why in self._told.items())
        if told:
            error.found += f"; before that, {told}"


def _is_hopeless(error: ProvisionError) -> bool:
    """Tell whether no other file will fare better: nobody may ask the mirror, or its bytes were wrong."""
    from model_provisioner.fetchers.http.begun import LieError

    return not isinstance(error, FetchError) or isinstance(error, LieError)


def _why(error: ProvisionError, *, is_lacking: bool) -> str:
    if is_lacking:
        return f"it does not have every file; the first that it lacks is {error.where}"
    if isinstance(error, NotAllowedError):
        return f"it may not be asked: expected {error.expected}"
    fix = f"; {error.fix}" if isinstance(error, SettingError | MissingExtraError) else ""
    return f"{error.what} ({error.found}){fix}"
