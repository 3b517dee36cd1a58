"""The store: what was fetched, under the folder `cache_dir`. The format stands in `docs/reference/store.md`."""

from __future__ import annotations

from model_provisioner.store.blobs import Blobs
from model_provisioner.store.refs import Refs
from model_provisioner.store.tree import Trees


class Store(Blobs, Trees, Refs):
    """The files under one `cache_dir`: blobs, the trees that name them, and records of what references resolved to."""

    def _prepare(self) -> None:
        from model_provisioner.store.cleanup import sweep

        super()._prepare()
        sweep(self)
