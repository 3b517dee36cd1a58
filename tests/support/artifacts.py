"""Artifacts as each tool writes them, pushed to a registry on loopback. Each function returns the digest of the manifest."""

from __future__ import annotations

from tests.support.registry import DOCKER_MANIFEST, OCI_EMPTY, OCI_MANIFEST

ORAS_FILE = "application/vnd.oci.image.layer.v1.tar"
"""What ORAS calls every file that it is not told another type of."""
TITLE, FILEPATH = "org.opencontainers.image.title", "org.cncf.model.filepath"


def layer(registry, repository, media_type, data, **annotations):
    """Push bytes; return the descriptor of their layer. Annotations are given by the last part of their names."""
    names = {"title": TITLE, "filepath": FILEPATH, "unpack": "io.deis.oras.content.unpack"}
    found = {"mediaType": media_type, "digest": registry.push_blob(repository, data), "size": len(data)}
    return found | ({"annotations": {names[key]: value for key, value in annotations.items()}} if annotations else {})


def push(registry, repository, tag, layers, *, config=(OCI_EMPTY, b"{}"), kind=OCI_MANIFEST, **more):
    """Push a manifest of layers that are there."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        **more,
        "config": layer(registry, repository, *config),
        "layers": layers,
    }
    return registry.push_manifest(repository, tag, manifest)


def oras(registry, repository, tag, files):
    """As `oras push REF FILE…`."""
    layers = [layer(registry, repository, ORAS_FILE, data, title=name) for name, data in files.items()]
    return push(registry, repository, tag, layers, artifactType="application/vnd.unknown.artifact.v1")


def modelpack(registry, repository, tag, files, prefix="cncf"):
    """As modctl writes ModelPack: `files` by name give the kind (`weight`, `weight.config`, `doc`, …) and the bytes."""
    layers = [
        layer(registry, repository, f"application/vnd.{prefix}.model.{kind}.v1.raw", data, filepath=name)
        for name, (kind, data) in files.items()
    ]
    config = f"application/vnd.{prefix}.model.config.v1+json", b'{"descriptor": {}}'
    return push(
        registry,
        repository,
        tag,
        layers,
        config=config,
        artifactType=f"application/vnd.{prefix}.model.manifest.v1+json",
    )


def docker_model(registry, repository, tag, layers):
    """As `docker model package`: pairs of the end of the media type (`gguf.v3`) and bytes, or with a path as a third."""
    made = [
        layer(registry, repository, f"application/vnd.docker.ai.{end}", data, **({"filepath": path[0]} if path else {}))
        for end, data, *path in layers
    ]
    config = "application/vnd.docker.ai.model.config.v0.1+json", b'{"config": {"format": "gguf"}}'
    return push(registry, repository, tag, made, config=config)


def ollama(registry, repository, tag, layers):
    """As `ollama push`: pairs of the end of the media type (`model`, `projector`) and bytes."""
    made = [layer(registry, repository, f"application/vnd.ollama.image.{end}", data) for end, data in layers]
    config = "application/vnd.docker.container.image.v1+json", b'{"model_format": "gguf"}'
    return push(registry, repository, tag, made, config=config, kind=DOCKER_MANIFEST)


def kit(registry, repository, tag, data):
    """As `kit pack` without options: a tar file."""
    config = "application/vnd.kitops.modelkit.config.v1+json", b"{}"
    made = [layer(registry, repository, "application/vnd.kitops.modelkit.model.v1.tar", data)]
    return push(registry, repository, tag, made, config=config)
