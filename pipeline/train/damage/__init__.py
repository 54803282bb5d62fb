"""Synthetic film damage over a clean clip, with the truth and a mask of every local defect."""

from pipeline.train.damage.make import Damaged, damage
from pipeline.train.damage.marks import Mask, Overlays
from pipeline.train.damage.recipe import Ranges, Recipe, draw

__all__ = ["Damaged", "Mask", "Overlays", "Ranges", "Recipe", "damage", "draw"]
