"""The chain of passes as a config says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pipeline.treatments import (
    TREATMENTS,
    DeflickerPass,
    DegrainPass,
    DirtPass,
    DuplicatesPass,
    FadePass,
    GrainPass,
    Model,
    PassBase,
    ScratchesPass,
    StabilisePass,
)


class Guard(Model):
    """When a net's picture counts as broken, so that its frame is left as it was and flagged ``guard``.

    Both limits are about means over cells of 16 px and more; shares are of the picture's cells. The defaults let
    through all that denoising, deblurring, deraining and the repair of blotches do, and stop the false colours that
    deblurring nets are known to make of flat dark frames.
    """

    tint: float = Field(default=0.04, ge=0.0, le=1.0)
    """How far a cell may move beyond all colours that its frames show, in full range (0 to 1), on top of the frame's
    own contrast (standard deviation): restoration brings no colours of its own. 0.04 is 10 codes of 8 bit."""
    tint_area: float = Field(default=0.02, ge=0.0, le=1.0)
    """Share of the picture that may do so all the same: a lamp or a reflection that dirt has hidden."""
    change: float = Field(default=0.35, ge=0.0, le=1.0)
    """How far a cell may lie from what each of the frames shows in its place, in full range (0 to 1)."""
    change_area: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the picture that may do so all the same: blotches are that large, damage to a whole frame is no net's
    to invent a picture for."""


class NetPass(PassBase):
    """A neural network over every frame."""

    kind: Literal["net"] = Field(default="net", alias="pass")
    weights: str = "nafnet-film"
    """A name of the registry, or a path or URI to a .safetensors or .pth of the NAFNet or MPRNet family; with the extra
    ``reelmend[spandrel]`` of other architectures too."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Hash that the weights' file must have: wanted for a URI, so that every worker runs the same net."""
    strength: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the net's change that is kept (no unit): 0 leaves the picture alone. A frame-wise parameter."""
    limit: float | None = Field(default=None, gt=0.0, le=1.0)
    """Largest change of a pixel that is kept whole, as a share of full range; from twice that on none is. For a net
    that is to take grain alone: what it would mend besides has no evidence but its looks. null: whatever it says; but a
    net that sees several frames leaves alone what a ``dirt`` before it left alone."""
    tlc: bool | tuple[int, int] = False
    """Test-time Local Converter: true for the size the weights were trained at, or that as [height, width] in px."""
    guard: Guard | None = Guard()
    """What a net's picture may not do; null: only values that are not finite are stopped. For nets whose task is to
    change brightness or colour of whole frames (dehazing, low light)."""
    accept_licence: bool = False
    """Says that the licence of weights under a restricted one (MPRNet's: non-commercial) has been read and accepted."""


def _kind(said: Any) -> str:
    """Which model a chain's item is of. A net where it does not say."""
    if isinstance(said, Mapping):
        return str(said.get("pass", said.get("kind", "net")))
    return str(getattr(said, "kind", "net"))


KINDS: Mapping[str, type[PassBase]] = {
    "net": NetPass,
    **{str(t.model_fields["kind"].default): t for t in TREATMENTS},
}
"""Pass kind → what it may say."""

Pass = Annotated[
    Annotated[NetPass, Tag("net")]
    | Annotated[DeflickerPass, Tag("deflicker")]
    | Annotated[StabilisePass, Tag("stabilise")]
    | Annotated[FadePass, Tag("fade")]
    | Annotated[DuplicatesPass, Tag("duplicates")]
    | Annotated[DegrainPass, Tag("degrain")]
    | Annotated[DirtPass, Tag("dirt")]
    | Annotated[ScratchesPass, Tag("scratches")]
    | Annotated[GrainPass, Tag("grain")],
    Discriminator(_kind),
]
"""The union of all passes; a new treatment is added here and to ``treatments.TREATMENTS``."""

FRAMEWISE: Mapping[str, Mapping[str, tuple[float, float]]] = {k: {"strength": (0.0, 1.0)} for k in KINDS}
"""Pass kind → parameters that may change from frame to frame → allowed range. Every kind has ``strength``: 0 is off."""
