"""All bytes of one remote file: resumed where they broke off, with retries that give up in the end."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError, IncompleteError
from model_provisioner.fetchers.http.begun import Begun, LieError
from model_provisioner.fetchers.patience import SOURCE, Patience, Terms, pause, too_long

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_provisioner.fetchers.http.client import HttpClient
    from model_provisioner.fetchers.listing import RemoteFile
    from model_provisioner.store.arriving.partial import Partial

PROGRESS = 128 << 10
"""New bytes that make a try worth its while: more than a server sends that counts as stalled. Fewer do not give the tries
back, or a server could keep us for ever."""


def receive(
    client: HttpClient,
    file: RemoteFile,
    partial: Partial,
    *,
    expect: Callable[[int], object],
    reach: Callable[[int], object],
    wait: Callable[[float, str], object] = pause,
    before: Begun | None = None,
    terms: Terms = SOURCE,
) -> bool:
    """Append the bytes of `file` to `partial`, which it resumes; nothing is said about what they are.

    Return False, with nothing appended, if the server still has the version that came whole `before`.
    `expect` is called with the size of the whole file where a server tells it, before its bytes come, and `reach` with how
    many are here by now; what they raise ends it. Trouble that may pass is met with patience, as much as `terms` allow, which
    starts anew whenever a try brought something; `wait` is told for how long, and why. Raises `FetchError` when there is no
    hope, and what the check of `client` raises.
    """
    best, patience = partial.size, Patience(wait, terms)
    while True:
        try:
            return _try(client, file, partial, before, expect, reach)
        except IncompleteError as error:
            if partial.size >= best + PROGRESS:
                patience.begin_anew()
            best = max(best, partial.size)
            if not patience.allows(error.wait, error.what):
                raise _given_up(file, error, patience.tried) from None


def _try(
    client: HttpClient,
    file: RemoteFile,
    partial: Partial,
    before: Begun | None,
    expect: Callable[[int], object],
    reach: Callable[[int], object],
) -> bool:
    pinned = file.sha256 is not None or file.git_blob is not None
    size = partial.total if file.size is None else file.size
    if partial.size and partial.size == size and (pinned or partial.is_for_request):
        return True  # a run was killed between the last byte and the rename: there is nothing left to ask for
    if file.size is not None and partial.size > file.size:
        partial.begin(None)
    if partial.size:
        before = None  # what is here is a part of a newer version
    begun = before
    by_digest = file.sha256 is not None
    if partial.size and (partial.validator is not None or by_digest):
        begun = Begun(size=partial.size, validator=partial.validator, total=partial.total, by_digest=by_digest)
    with client.open(file.url, begun=begun, headers=file.all_headers, size=file.size) as response:
        if before is not None and response.is_as_begun:
            return False
        if not response.has_end and not pinned:
            raise FetchError(
                f"{response.host} does not say how long {file.name} is, so that half of it would look like all of it",
                where=f"{file.name} at {response.host}",
                expected="a Content-Length, or a digest",
                found="neither",
                fix="give its expected_digest, or download the model and point model_ref at the file",
            )
        if response.total is not None:
            expect(response.total)
        if response.offset == 0:
            partial.begin(response.validator, response.total)
        # The same file again from its start, by a server that knows no ranges: what is here need not be written again.
        known = partial.size - response.offset
        try:
            with closing(response.chunks()) as chunks:
                for whole in chunks:
                    chunk = whole[known:] if known else whole
                    known = max(0, known - len(whole))
                    if chunk:
                        partial.write(chunk)
                        reach(partial.size)
        except LieError:
            partial.begin(None)  # else every later run would go on from there, and be told the same
            raise
    return True


def _given_up(file: RemoteFile, error: IncompleteError, tried: int) -> FetchError:
    return FetchError(
        f"{file.name} could not be fetched: {error.what}" + (f", {tried} times in a row" if tried > 1 else ""),
        status=error.status,
        where=error.where,
        expected=error.expected,
        found=error.found + too_long(error.wait),
        fix=f"{error.fix}; what is here already is kept and resumed",
    )
