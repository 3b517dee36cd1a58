"""What is advised by the audit of a store brings the model."""

import errno
import os
import shutil

from tests.support.advice import advised
from tests.support.remote import TINY_BYTES


def test_names_are_left_out_or_their_files_read_by_the_audit_of_models(tiny):
    tiny.provision()
    answer = tiny.doit("model-verify", "--store", "tiny", code=3)
    (name,) = advised(answer, "leave the names out; or `doit model-verify --full {}` reads the files of these models")
    tiny.doit("model-verify", "--full", name)
    tiny.doit("model-verify", "--store")


def test_a_blob_that_is_lost_is_removed_and_fetched_again(tiny, monkeypatch):
    tiny.provision()
    (blob,) = tiny.blobs()

    def broken(fd, into, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("model_provisioner.hashing.uncached._read_direct", broken)
        answer = tiny.doit("model-verify", "--store", code=2)
    advised(
        answer,
        "it was left as it is: give yourself read permission, or look at the disk; if it is lost, remove the file, and "
        "`doit provision` fetches it again",
    )
    os.unlink(tiny.cache / "blobs/sha256" / blob[:2] / blob)
    tiny.provision()
    assert tiny.bytes_of("tiny") == TINY_BYTES
    tiny.doit("model-verify", "--store")


def test_a_store_that_was_removed_is_forgotten_with_the_record_of_its_audits(tiny):
    tiny.provision()
    tiny.doit("model-verify", "--store")
    elsewhere = tiny.cache.with_name("elsewhere")
    os.rename(tiny.cache, elsewhere)
    answer = tiny.doit("model-verify", "--store", code=2)
    sentence = "mount the disk of the store; or, if you removed the store yourself, remove {}, which knows its blobs"
    (record,) = advised(answer, sentence)
    os.rename(elsewhere, tiny.cache)
    tiny.doit("model-verify", "--store")
    shutil.rmtree(tiny.cache)
    os.unlink(record)
    tiny.doit("model-verify", "--store")
