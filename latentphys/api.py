"""The verbs: read, simulate, fit, load."""

from latentphys.recordings.reading import read

__all__ = ["read"]
