"""The Python API: what an engine provisioner calls instead of the shell."""

from model_provisioner.api.project import (
    provision,
    provision_from_config_to_default_handoff,
    provision_from_config_to_handoff,
)
from model_provisioner.api.provisioner import ModelProvisioner, ensure_present
from model_provisioner.api.resolved import ResolvedModel

__all__ = [
    "ModelProvisioner",
    "ResolvedModel",
    "ensure_present",
    "provision",
    "provision_from_config_to_default_handoff",
    "provision_from_config_to_handoff",
]
