"""What a job may say: the models of a config file.

A config is YAML; ``parse`` reads and checks it, and puts ``--set a.b=c`` over it. An unknown key is an error that names
the nearest right one.
"""

from pipeline.spec.chain import FRAMEWISE, KINDS, Guard, NetPass, Pass
from pipeline.spec.deliver import RESIDUAL, Deliver, Output, Split
from pipeline.spec.job import Cluster, Engine, ShotOverride, Source, Spec, Stills, Tiles, parse
from pipeline.spec.text import parse_as

__all__ = [
    "FRAMEWISE",
    "KINDS",
    "RESIDUAL",
    "Cluster",
    "Deliver",
    "Engine",
    "Guard",
    "NetPass",
    "Output",
    "Pass",
    "ShotOverride",
    "Source",
    "Spec",
    "Split",
    "Stills",
    "Tiles",
    "parse",
    "parse_as",
]
