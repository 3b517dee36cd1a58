"""What a repository offers to who has not named a file: its GGUFs by their quantization, with sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_provisioner.errors import FetchError
from model_provisioner.references.quantizations import offers
from model_provisioner.units import human

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from model_provisioner.references.quantizations import Offer
    from model_provisioner.references.reference import HubRef

LISTED = 40
"""How many GGUFs an error lists."""


def size_of(offer: Offer, sizes: Mapping[str, int | None]) -> int:
    """Return the bytes of all files of a GGUF, as far as the source says them."""
    return sum(sizes[name] or 0 for name in offer.names)


def described(some: Iterable[Offer], sizes: Mapping[str, int | None]) -> str:
    """Return GGUFs in words: quantization or file, and size."""
    listed = [f"{each.quantization or each.names[0]} ({human(size_of(each, sizes))})" for each in some]
    more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return ", ".join(listed[:LISTED]) + more


def chosen_offer(ref: HubRef, sizes: Mapping[str, int | None]) -> Offer:
    """Return the one GGUF of the quantization that a reference names; `sizes` has all paths of its repository.

    Projectors and importance matrices are no models. Raises `FetchError` for none and for several, which lists what there is.
    """
    models = [each for each in offers(sizes) if each.kind == "model"]
    found = [each for each in models if each.quantization == ref.quantization]
    if len(found) == 1:
        return found[0]
    if found:
        files = ", ".join(f"{each.names[0]} ({human(size_of(each, sizes))})" for each in found[:LISTED])
        raise FetchError(
            f"the repository has {len(found)} GGUFs of the quantization {ref.quantization}",
            where=ref.id,
            expected="one",
            found=files,
            fix=f"name the file: hf:{ref.repo}/{found[0].names[0]}",
        )
    named = [each for each in models if each.quantization is not None]
    raise FetchError(
        f"the repository has no GGUF of the quantization {ref.quantization}"
        if models
        else "the repository has no GGUF that is a model",
        where=ref.id,
        expected="one of what there is",
        found=described(models, sizes) if models else f"{len(sizes)} other files",
        fix=f"name one of these: hf:{ref.repo}:{_nearest(str(ref.quantization), named)}"
        if named
        else f"name the file: hf:{ref.repo}/{models[0].names[0]}"
        if models
        else "name a repository with GGUFs: its name often ends in -GGUF",
    )


def _nearest(quantization: str, models: Iterable[Offer]) -> str:
    from difflib import get_close_matches

    names = [str(each.quantization) for each in models]
    return next(iter(get_close_matches(quantization, names, n=1, cutoff=0)), names[0])
