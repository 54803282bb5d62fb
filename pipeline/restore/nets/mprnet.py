"""MPRNet: "Multi-Stage Progressive Image Restoration" (Zamir et al., CVPR 2021), with the authors' state-dict keys.

Quarters of the picture are encoded and halves decoded (stage 1), halves encoded and the whole decoded (stage 2), and
the whole goes through a full-resolution stage (3). Because it splits at the midlines, the result depends on where a
spatial tile lies.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.restore.kernels.fused import Fused
from pipeline.restore.nets import tlc
from pipeline.restore.nets.config import MPRNetConfig
from pipeline.restore.nets.convolution import Conv

_SPLIT = {
    "shallow_feat1": (2, 2),
    "stage1_encoder": (2, 2),
    "stage1_decoder": (2, 1),
    "shallow_feat2": (2, 1),
    "stage2_encoder": (2, 1),
}
"""Module → by what the picture it works on is split, [rows, columns]; all others see the whole."""

_TLC_SHARE = (256, 256)
"""The released TLC form of MPRNet scales its windows by this constant instead of by the training size. For weights
trained at 256×256, as all released ones are, the two are the same; for others its windows are smaller (at 64×64: a
quarter) or larger, and we compute what it computes."""


class CALayer(nn.Module):
    """Channel attention: the weights that a block's result is multiplied with."""

    def __init__(self, c: int, reduction: int, bias: bool):
        super().__init__()
        self.pool = tlc.Pool()
        self.conv_du = nn.Sequential(
            nn.Conv2d(c, c // reduction, 1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(c // reduction, c, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return tlc.spread(self.conv_du(self.pool(x).to(x.dtype)), x)


class CAB(nn.Module):
    """Channel attention block: (B, C, H, W) → the same shape. ``act`` is one module shared by the whole net."""

    fused: Fused | None = None
    """Kernels that compute what stands between the convolutions."""
    slope = 0.0
    """That of ``act``, where kernels are used."""

    def __init__(self, c: int, config: MPRNetConfig, act: nn.PReLU):
        super().__init__()
        self.CA = CALayer(c, config.reduction, config.bias)
        self.body = nn.Sequential(_conv(c, c, config), act, _conv(c, c, config))

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None and self.fused.takes(x):
            return self._fused(x, self.fused)
        res = self.body(x)
        return torch.addcmul(x, res, self.CA(res))

    def _fused(self, x: Tensor, fused: Fused) -> Tensor:
        res = self.body[2](cast(Conv, self.body[0]).rectified(x, fused, self.slope))
        if not self.CA.pool.whole(res):
            return torch.addcmul(x, res, self.CA(res))
        return fused.scaled(res, self.CA.conv_du(fused.mean(res).to(res.dtype)), x)


class Down(nn.Module):
    """Half the size (bilinear), then 1×1 to the next level's channels."""

    def __init__(self, c: int, more: int):
        super().__init__()
        self.down = nn.Sequential(_Halve(), nn.Conv2d(c, c + more, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down(x))


class Up(nn.Module):
    """Twice the size (bilinear), then 1×1. The two commute, so the 1×1 runs on the smaller map."""

    def __init__(self, c: int, more: int):
        super().__init__()
        self.up = nn.Sequential(_Double(), nn.Conv2d(c + more, c, 1, bias=False))

    def narrow(self, x: Tensor) -> Tensor:
        """The 1×1 alone."""
        return cast(Tensor, self.up[1](x))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.up[0](self.narrow(x)))


class Encoder(nn.Module):
    """(B, n, H, W) → three maps, each of half the size of the one before. With CSFF: the stage before's go in."""

    def __init__(self, config: MPRNetConfig, act: nn.PReLU, csff: bool):
        super().__init__()
        c, s = config.n_feat, config.scale_unetfeats
        for level in (1, 2, 3):
            width = c + (level - 1) * s
            self.add_module(f"encoder_level{level}", _pair(width, config, act))
            if csff:
                self.add_module(f"csff_enc{level}", nn.Conv2d(width, width, 1, bias=config.bias))
                self.add_module(f"csff_dec{level}", nn.Conv2d(width, width, 1, bias=config.bias))
        self.down12 = Down(c, s)
        self.down23 = Down(c + s, s)

    def forward(self, x: Tensor, before: tuple[list[Tensor], list[Tensor]] | None = None) -> list[Tensor]:
        found: list[Tensor] = []
        for level in (1, 2, 3):
            if level > 1:
                x = self.get_submodule(f"down{level - 1}{level}")(x)
            x = self.get_submodule(f"encoder_level{level}")(x)
            if before is not None:
                encoded, decoded = before
                x = x + self.get_submodule(f"csff_enc{level}")(encoded[level - 1])
                x = x + self.get_submodule(f"csff_dec{level}")(decoded[level - 1])
            found.append(x)
        return found


class Decoder(nn.Module):
    """An encoder's three maps → three maps of the same shapes."""

    def __init__(self, config: MPRNetConfig, act: nn.PReLU):
        super().__init__()
        c, s = config.n_feat, config.scale_unetfeats
        self.decoder_level1 = _pair(c, config, act)
        self.decoder_level2 = _pair(c + s, config, act)
        self.decoder_level3 = _pair(c + 2 * s, config, act)
        self.skip_attn1 = CAB(c, config, act)
        self.skip_attn2 = CAB(c + s, config, act)
        self.up21 = Up(c, s)
        self.up32 = Up(c + s, s)

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        dec3 = self.decoder_level3(encoded[2])
        dec2 = self.decoder_level2(self.up32(dec3) + self.skip_attn2(encoded[1]))
        dec1 = self.decoder_level1(self.up21(dec2) + self.skip_attn1(encoded[0]))
        return [dec1, dec2, dec3]


class ORB(nn.Module):
    """Original-resolution block: ``num_cab`` blocks and a convolution, around a skip."""

    def __init__(self, c: int, config: MPRNetConfig, act: nn.PReLU):
        super().__init__()
        # The authors' last convolution has no bias, whatever the others have.
        last = Conv(c, c, config.kernel_size, bias=False)
        self.body = nn.Sequential(*(CAB(c, config, act) for _ in range(config.num_cab)), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.body(x))


class ORSNet(nn.Module):
    """The full-resolution stage: (B, n+o, H, W) and stage 2's maps → (B, n+o, H, W)."""

    def __init__(self, config: MPRNetConfig, act: nn.PReLU):
        super().__init__()
        c, s, wide = config.n_feat, config.scale_unetfeats, config.n_feat + config.scale_orsnetfeats
        self.orb1, self.orb2, self.orb3 = (ORB(wide, config, act) for _ in range(3))
        self.up_enc1, self.up_dec1 = Up(c, s), Up(c, s)
        self.up_enc2, self.up_dec2 = (nn.Sequential(Up(c + s, s), Up(c, s)) for _ in range(2))
        self.conv_enc1, self.conv_enc2, self.conv_enc3 = (nn.Conv2d(c, wide, 1, bias=config.bias) for _ in range(3))
        self.conv_dec1, self.conv_dec2, self.conv_dec3 = (nn.Conv2d(c, wide, 1, bias=config.bias) for _ in range(3))

    def forward(self, x: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        x = self.orb1(x) + self.conv_enc1(encoded[0]) + self.conv_dec1(decoded[0])
        # All 1×1 convolutions before the bilinear doubling, with which they commute: far less work.
        part = self.conv_enc2(self.up_enc1.narrow(encoded[1])) + self.conv_dec2(self.up_dec1.narrow(decoded[1]))
        x = self.orb2(x) + _double(part)
        part = self.conv_enc3(_narrow_twice(self.up_enc2, encoded[2]))
        part = part + self.conv_dec3(_narrow_twice(self.up_dec2, decoded[2]))
        return cast(Tensor, self.orb3(x) + _double(_double(part)))


class SAM(nn.Module):
    """Supervised attention: features (B, n, H, W) and the input picture → features and the stage's picture."""

    def __init__(self, c: int, bias: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 1, bias=bias)
        self.conv2 = nn.Conv2d(c, 3, 1, bias=bias)
        self.conv3 = nn.Conv2d(3, c, 1, bias=bias)

    def forward(self, x: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.conv2(x).to(picture.dtype) + picture
        attention = torch.sigmoid(self.conv3(restored.to(x.dtype)))
        return torch.addcmul(x, self.conv1(x), attention), restored


class MPRNet(nn.Module):
    """(B, 3, H, W) RGB, nominally in [0, 1], unclamped → (B, 3, H, W) restored; any H, W ≥ 1.

    The pictures, the stages' too, keep the input's dtype; features have the weights'.
    """

    def __init__(self, config: MPRNetConfig):
        super().__init__()
        self.config = config
        n, wide, bias = config.n_feat, config.n_feat + config.scale_orsnetfeats, config.bias
        act = nn.PReLU()
        self.shallow_feat1, self.shallow_feat2, self.shallow_feat3 = (
            nn.Sequential(_conv(3, n, config), CAB(n, config, act)) for _ in range(3)
        )
        self.stage1_encoder = Encoder(config, act, csff=False)
        self.stage1_decoder = Decoder(config, act)
        self.stage2_encoder = Encoder(config, act, csff=True)
        self.stage2_decoder = Decoder(config, act)
        self.stage3_orsnet = ORSNet(config, act)
        self.sam12 = SAM(n, bias)
        self.sam23 = SAM(n, bias)
        self.concat12 = _conv(2 * n, n, config)
        self.concat23 = _conv(2 * n, wide, config)
        self.tail = _conv(wide, 3, config)
        self.set_tlc(config.tlc_train_size)

    def set_tlc(self, train_size: tuple[int, int] | None) -> None:
        """Turn TLC on for weights that were trained at [height, width] px, or off (None)."""
        for name, module in self.named_modules():
            if not isinstance(module, tlc.Pool):
                continue
            module.kernel = None
            if train_size is not None:
                part, child = name.split(".")[:2]
                level = int(child[-1]) - 1 if child.startswith(("encoder_level", "decoder_level", "skip_attn")) else 0
                whole = (-(-side // self.config.multiple) * self.config.multiple for side in train_size)
                h, w = (side // by >> level for side, by in zip(whole, _SPLIT.get(part, (1, 1)), strict=True))
                module.kernel = tlc.kernel((h, w), train_size, _TLC_SHARE)

    def set_fused(self, fused: Fused | None) -> None:
        """Compute with fused kernels where they take the map, or with torch alone (None)."""
        slope = self.get_parameter("shallow_feat1.1.body.1.weight").item()
        for module in self.modules():
            if isinstance(module, CAB):
                module.fused, module.slope = fused, slope
            elif isinstance(module, Conv):
                module.set_fused(fused)

    def forward(self, x: Tensor) -> Tensor:
        return self.stages(x)[0]

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pictures of stage 3 (the result), 2 and 1, each (B, 3, H, W)."""
        h, w = x.shape[-2:]
        whole = reflect_to(x, self.config.multiple).contiguous(memory_format=torch.channels_last)
        halves = _split(whole, 2)
        dtype = self.tail.weight.dtype

        encoded = self.stage1_encoder(self.shallow_feat1(_split(halves, 3).to(dtype)))
        encoded = [_join(e, 3) for e in encoded]
        decoded = self.stage1_decoder(encoded)
        features, picture1 = self.sam12(decoded[0], halves)

        features = self.concat12(torch.cat((self.shallow_feat2(halves.to(dtype)), features), 1))
        encoded = self.stage2_encoder(features, (encoded, decoded))
        encoded = [_join(e, 2) for e in encoded]
        decoded = self.stage2_decoder(encoded)
        features, picture2 = self.sam23(decoded[0], whole)

        features = self.concat23(torch.cat((self.shallow_feat3(whole.to(dtype)), features), 1))
        features = self.stage3_orsnet(features, encoded, decoded)
        picture3 = self.tail(features).to(x.dtype) + whole
        return picture3[..., :h, :w], picture2[..., :h, :w], _join(picture1, 2)[..., :h, :w]


def reflect_to(x: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) mirrored at right and bottom, edge not repeated, to the next multiple; however small it is."""
    for axis in (2, 3):
        n = x.shape[axis]
        if n % multiple:
            at = torch.arange(n + -n % multiple, device=x.device) % max(1, 2 * (n - 1))
            x = x.index_select(axis, torch.minimum(at, 2 * (n - 1) - at))
    return x


def _pair(c: int, config: MPRNetConfig, act: nn.PReLU) -> nn.Sequential:
    return nn.Sequential(CAB(c, config, act), CAB(c, config, act))


def _narrow_twice(ups: nn.Sequential, x: Tensor) -> Tensor:
    for up in ups:
        x = cast(Up, up).narrow(x)
    return x


class _Halve(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        # Bilinear at half the size without aligned corners is the mean of four.
        return F.avg_pool2d(x, 2)


class _Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _double(x)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _conv(c_in: int, c_out: int, config: MPRNetConfig) -> Conv:
    return Conv(c_in, c_out, config.kernel_size, bias=config.bias)


def _split(x: Tensor, axis: int) -> Tensor:
    """Halves of an axis, one after the other on the batch."""
    return torch.cat(x.chunk(2, axis), 0)


def _join(x: Tensor, axis: int) -> Tensor:
    """Undoes ``_split``."""
    return torch.cat(x.chunk(2, 0), axis)
