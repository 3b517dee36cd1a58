"""The report of a command for CI: JUnit XML where `--junit` names a file, annotations in a job of GitHub Actions."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from model_provisioner.cli.ci import github_annotations
from model_provisioner.cli.exit_codes import Patient
from model_provisioner.cli.output import print_lines
from model_provisioner.cli.project import CONFIG_NAME
from model_provisioner.errors import InputError, ProvisionError
from model_provisioner.invocation import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_provisioner.cli.ci.cases import Case
    from model_provisioner.cli.output_file import OutputFile


class CiReport:
    """What a command has for CI. The command adds cases; they are told when its work has ended, however that ends."""

    def __init__(self, suite: str, file: str | None, *, force: bool) -> None:
        """Take what is called `suite` in the report, and what was given after `--junit`. Raises `InputError`."""
        self._suite = suite
        self._file = None if file is None else _junit_file(suite, file, force=force)
        self.config = os.path.abspath(CONFIG_NAME)
        """The configuration, as far as the command knows."""
        self.cases: list[Case] = []

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asks for it."""
        return self._file is not None or github_annotations.are_wanted()

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write the file when the block ends; where an error ends it, that is told as well, in the file and beside it.

        Raises `InputError` where the file is none to write, `StorageError` where it can't be written.
        """
        may_write = False
        try:
            if self._file is not None:
                self._file.check()
            may_write = True
            yield
            may_write = False
            self._write()
        except Exception as error:
            from model_provisioner.cli.ci.cases import of_error

            self.cases.append(of_error(error, self.config))
            self.annotate()
            try:
                if may_write:
                    self._write()
            except ProvisionError as worse:
                sys.stderr.write(f"ERROR: {worse}\n")
            raise

    def _write(self) -> None:
        if self._file is not None:
            from model_provisioner.cli.ci import junit

            failed = {"what": "the JUnit report can't be written", "fix": "name another file after --junit"}
            self._file.write(junit.render(self._suite, self.cases), **failed)

    def annotate(self) -> None:
        """Print annotations of what was found, where they are wanted."""
        # GitHub Actions reads them from both streams: with JSON on standard output, what is printed goes to stderr.
        if github_annotations.are_wanted():
            print_lines(github_annotations.render(self._suite, self.cases, self.config), Patient(sys.stdout))


def _junit_file(suite: str, file: str, *, force: bool) -> OutputFile:
    """Return the file of the report that is called `suite`. Raises `InputError`."""
    from model_provisioner.cli.ci import junit
    from model_provisioner.cli.output_file import STDOUT, OutputFile

    if file == STDOUT:
        raise InputError(
            "--junit takes the name of a file",
            where="the command line",
            expected="--junit FILE",
            found=file,
            fix=f"--junit {suite}.xml; --json is for standard output",
        )
    path, command = os.path.join(os.getcwd(), file), named(suite.removeprefix("model-"))
    return OutputFile(path, "--junit", command, partial(junit.is_report, suite), force)
