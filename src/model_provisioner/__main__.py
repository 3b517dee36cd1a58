"""`python -m model_provisioner`, and the program `model-provisioner`."""

from __future__ import annotations

import sys

from model_provisioner.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
