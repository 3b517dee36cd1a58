"""What is removed is taken away first, and comes back for whom no lock kept out."""

import os

import pytest

from model_provisioner.store.inventory import inventory, remove
from model_provisioner.store.owners import Witness
from model_provisioner.store.arriving.partial import Partial
from model_provisioner.store.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def put(store, data):
    with Partial.open(store, data.hex()) as partial:
        partial.begin(None)
        partial.write(data)
        return store.publish(partial, partial.finish().sha256).sha256


def everything(store):
    return sorted(
        os.path.relpath(os.path.join(top, name), store.root) for top, _, names in os.walk(store.root) for name in names
    )


def models(store, tmp_path):
    return [each for each in inventory(store, Witness(store, str(tmp_path))).items if each.kind == "model"]


def test_what_is_chosen_goes_and_what_somebody_began_to_use_comes_back(store, tmp_path):
    shared, one, two = put(store, b"shared"), put(store, b"one"), put(store, b"two")
    store.make_tree("hf:a/b", {"x": one, "s": shared})
    store.make_tree("hf:a/c", {"x": two, "s": shared})
    b, c = models(store, tmp_path)
    before = everything(store)
    seen = []

    def in_use():
        seen.append(store.has(one) or store.has(two) or bool(models(store, tmp_path)))
        return {two}

    gone = remove(store, [(b, {one}), (c, {two, shared})], in_use)
    assert seen == [False], "they are away when it is looked once more"
    assert gone == [b]
    assert [each.place for each in models(store, tmp_path)] == [c.place]
    assert everything(store) == [path for path in before if one not in path and not path.startswith(f"trees/{b.place}")]


def test_one_that_another_host_made_again_meanwhile_is_kept(store, tmp_path):
    sha256 = put(store, b"one")
    path = store.make_tree("hf:a/b", {"x": sha256})
    (model,) = models(store, tmp_path)

    def in_use():
        put(store, b"one")
        store.make_tree("hf:a/b", {"x": sha256})
        return {sha256}

    assert remove(store, [(model, {sha256})], in_use) == []
    with open(path, "rb") as file:
        assert file.read() == b"one"


def test_what_a_kill_leaves_is_evicted_next(store, tmp_path):
    sha256 = put(store, b"one")
    store.make_tree("hf:a/b", {"x": sha256})
    (model,) = models(store, tmp_path)

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove(store, [(model, {sha256})], killed)
    (left,) = inventory(store, Witness(store, str(tmp_path))).items
    assert (left.kind, left.size) == ("damaged", 3)
    assert remove(store, [(left, ())], pytest.fail) == [left]
    assert inventory(store, Witness(store, str(tmp_path))).size == 0
