"""The process that talks to the fleet's database: one JSON document on standard input, one a line on standard output."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from model_provisioner import errors
from model_provisioner.errors import MissingExtraError, ProvisionError
from model_provisioner.invocation import called_by_doit

if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> None:
    """Do what standard input asks for; the last line on standard output has the answer, or the error."""
    asked = json.load(sys.stdin)
    called_by_doit(asked["by_doit"])
    # Whoever asked ends this process in time. If that one was killed itself, the pipe tells; and where a copy of that one still
    # holds the pipe, the kernel ends this one, whatever is waited for.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(math.ceil(asked["seconds"]) + 1)
    threading.Thread(target=_end_with_it, args=(asked["pipe"],), daemon=True).start()
    try:
        _tell({"answer": _done(asked)})
    except ProvisionError as error:
        kind = next(each.__name__ for each in type(error).__mro__ if hasattr(errors, each.__name__))
        parts = {name: getattr(error, name) for name in ("what", "where", "expected", "found", "fix")}
        _tell({"error": {"kind": kind, **parts}})


def _end_with_it(pipe: int) -> None:
    """Wait for the end of file, which comes when whoever asked has ended, and end this process."""
    os.read(pipe, 1)
    os._exit(1)


def _done(asked: Mapping[str, Any]) -> dict[str, Any]:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        from model_provisioner.installation import with_extra

        raise MissingExtraError(
            "a fleet's database needs the package psycopg, which is not installed",
            where="the Python that runs this",
            expected="the extra fleet",
            found=str(error),
            fix=with_extra("fleet"),
        ) from None
    from model_provisioner.operations.fleet import queries, sending
    from model_provisioner.operations.fleet.database import connected

    with connected(asked["url"], asked["shown"], asked["seconds"]) as connection:
        if asked["job"] == "publish":
            return sending.publish(connection, asked, lambda project: _tell({"sent": project}))
        return queries.answer(connection, asked)


def _tell(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
