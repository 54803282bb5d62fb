"""Weights of nets: a registry of names, files of the two families by path or URI, and the bundled ones."""

from __future__ import annotations

from pipeline.restore.weights.cache import fetch
from pipeline.restore.weights.check import check, listing
from pipeline.restore.weights.registry import names
from pipeline.restore.weights.use import load, resolve

__all__ = ["check", "fetch", "listing", "load", "names", "resolve"]
