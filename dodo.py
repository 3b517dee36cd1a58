"""The project's own use of itself: `doit provision`."""

from model_provisioner.plugin import DOIT_CONFIG, task_models

__all__ = ["DOIT_CONFIG", "task_models"]
