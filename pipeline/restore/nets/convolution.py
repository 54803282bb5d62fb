"""Convolutions that a CPU's own kernels can compute."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.restore.kernels.fused import Fused, Taps


class Conv(nn.Conv2d):
    """Of odd square windows, with zeros around: (B, C, H, W) → (B, C', H, W). Keys are those of ``nn.Conv2d``."""

    def __init__(self, c_in: int, c_out: int, size: int, *, bias: bool):
        super().__init__(c_in, c_out, size, padding=size // 2, bias=bias)
        self._fused: Fused | None = None
        self._taps: Taps | None = None

    def set_fused(self, fused: Fused | None) -> None:
        """Use fused kernels for maps that they take, with the weights as they are now; or torch alone (None)."""
        self._fused = fused
        self._taps = fused.taps(self.weight, self.bias) if fused is not None else None

    def forward(self, x: Tensor) -> Tensor:
        if self._fused is not None and self._taps is not None and self._fused.takes(x, dtype=self._taps.dtype):
            return self._fused.convolve(x, self._taps)
        return super().forward(x)

    def rectified(self, x: Tensor, fused: Fused, slope: float) -> Tensor:
        """With a PReLU of one slope after it, by kernels, which take ``x``."""
        if self._taps is not None and fused.takes(x, dtype=self._taps.dtype):
            return fused.convolve(x, self._taps, slope)
        return fused.prelu_(self(x), slope)
