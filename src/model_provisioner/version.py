"""The version of this program, for the package and for what must not outlive an upgrade."""

__version__ = "0.2.0"
