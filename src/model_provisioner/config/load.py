"""From `models.yaml` to a `Config`: read its bytes, parse them. This module imports little; YAML and pydantic come with use."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from model_provisioner.collector import gc_paused
from model_provisioner.config.paths import asked_cache_dir, asked_runtime_dir, real_path, shown_path
from model_provisioner.errors import ConfigError, InputError
from model_provisioner.fs.read import LIMIT, NotAFileError, TooLargeError, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model_provisioner.config.entries import Config


def read_config(path: str) -> bytes:
    """Return the bytes of a configuration file. Raises `ConfigError` for what is no file of a sensible size."""
    try:
        return read_file(path)
    except NotAFileError:
        raise _unreadable(path, "a folder, a FIFO or a device", "name a file") from None
    except TooLargeError as error:
        raise _unreadable(
            path, f"{error.size:,} bytes", f"shorten it: at most {LIMIT:,} bytes are read, comments too"
        ) from None
    except OSError as error:
        fix = "check the disk it lies on" if error.errno == errno.EIO else "check its name and its permissions"
        raise _unreadable(path, error.strerror or str(error), fix) from None


def _unreadable(path: str, found: str, fix: str) -> ConfigError:
    where = shown_path(path)
    return ConfigError(
        where,
        [
            InputError(
                "the configuration can't be read",
                where=where,
                expected="a file that you may read",
                found=found,
                fix=fix,
            )
        ],
    )


def parse_config(
    data: bytes, path: str, *, cache_dir: str | None = None, environ: Mapping[str, str] = os.environ
) -> Config:
    """Parse the bytes of the configuration file at `path`.

    An explicit `cache_dir` wins over the environment, that over the file; so does the environment's `runtime_dir`. Raises
    `ConfigError` with every fault.
    """
    from model_provisioner.config.document import read_document
    from model_provisioner.config.reader import ConfigReader

    with gc_paused():
        document = read_document(data, shown_path(path))
        folders = asked_cache_dir(cache_dir, environ), asked_runtime_dir(environ)
        return ConfigReader(document, real_path(path), *folders).read()
