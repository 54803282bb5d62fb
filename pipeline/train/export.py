"""What a training job leaves behind: weights that a spec can name, and their card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from pipeline.restore import nets
from pipeline.storage import store
from pipeline.train.pictures import Item, Split
from pipeline.train.spec import TrainSpec

_SAMPLES = ("motion", "damage", "degrained")
"""Keys of the config that say how samples are made; they stand in the card."""
_LISTED = 5_000
"""Pictures that a card names one by one; of more, it says how many there are of each origin and licence."""


def write_weights(uri: str, tensors: Mapping[str, Tensor], config: nets.NetConfig, spec: TrainSpec, card: str) -> None:
    """Put float16 safetensors, with the net's config, its training size, licence and card in the header."""
    values = {k: v.detach().to("cpu", torch.float16).contiguous().clone() for k, v in tensors.items()}
    about = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.mapping().items()}
    about |= {"format": "pt", "train_size": json.dumps([spec.crop, spec.crop]), "licence": spec.licence, "card": card}
    store.put_bytes(uri, safetensors.torch.save(values, about))


def make_card(
    spec: TrainSpec,
    config: nets.NetConfig,
    split: Split,
    overlays: Sequence[tuple[str, str]],
    row: Mapping[str, Any],
    *,
    parameters: int,
    began_from: str | None,
    device: str,
) -> str:
    """The card in Markdown. ``overlays``: source and licence of each. ``row``: the log's last."""
    window = 2 * config.radius + 1
    numbers = ", ".join(f"{k} {v}" for k, v in config.mapping().items() if k != "arch")
    minutes = row["seconds"] / 60
    lines = [
        f"# {spec.name}",
        "",
        spec.task or f"{window} frame{'s' * (window > 1)} in, the middle one restored.",
        "",
        "| | |",
        "|---|---|",
        f"| network | {config.family}: {numbers}; {parameters / 1e6:.2f} M parameters, float16 |",
        f"| input | {window} frame{'s' * (window > 1)}, RGB in [0, 1], stacked on the channels |",
        f"| licence | {spec.licence} |",
        f"| trained on | {spec.crop}×{spec.crop} px samples: `tlc: [{spec.crop}, {spec.crop}]` |",
        f"| began from | {began_from or 'nothing'} |",
        "",
        "## Figures",
        f"On {spec.validation.clips} held-out clips with made damage, after {row['step']} of {spec.steps} steps. "
        "Inside: over the pixels of dirt, scratches and hairs. Over time: mean error of the change from frame to "
        "frame, 8-bit codes. They tell of made damage; what the net does to a real film, look at.",
        "",
        "| | PSNR, dB | SSIM | inside damage, dB | outside, dB | over time |",
        "|---|---|---|---|---|---|",
        _figures("damaged clips", "input", row),
        _figures(f"**{spec.name}**", "net", row),
        "",
        "## Recipe",
        f"{row['step']} steps of {spec.batch} samples of {spec.crop}×{spec.crop} px and {window} frames; "
        f"{minutes:.0f} minutes on {device}; loss and optimiser as in the NAFNet paper (PSNR loss, AdamW "
        f"{spec.lr:g}, betas {spec.betas[0]:g} and {spec.betas[1]:g}, cosine to {spec.lr_last:g} over {spec.steps} "
        f"steps, gradient norm {spec.clip:g}); running mean {spec.ema:g}; {spec.precision}; seed {spec.seed}"
        + (f", round {spec.round}." if spec.round else "."),
        "",
        "```yaml",
        *(f"{key}: {json.dumps(value)}" for key, value in spec.identity().items() if key in _SAMPLES),
        "```",
        "",
        "## Data",
        *_data(split, overlays),
    ]
    return "\n".join(lines) + "\n"


def _figures(name: str, prefix: str, row: Mapping[str, Any]) -> str:
    kinds = (("psnr_db", ".2f"), ("ssim", ".4f"), ("inside_db", ".2f"), ("outside_db", ".2f"), ("temporal", ".2f"))
    return f"| {name} | " + " | ".join(format(row[f"{prefix}_{kind}"], how) for kind, how in kinds) + " |"


def _data(split: Split, overlays: Sequence[tuple[str, str]]) -> list[str]:
    lines = [
        f"{len(split.train)} pictures, clips or films were trained on, {len(split.validation)} held out to measure on. "
        "Licences are those that the data's manifest states.",
        "",
    ]
    if overlays:
        lines += ["Overlays of dirt:", "", "| overlays | from | licence |", "|---|---|---|"]
        lines += [f"| {n} | {_cell(o)} | {_cell(li)} |" for (o, li), n in sorted(Counter(overlays).items())]
        lines += [""]
    both = [(i, "trained on") for i in split.train] + [(i, "held out") for i in split.validation]
    if len(both) > _LISTED:
        counts = Counter((use, i.origin, i.licence) for i, use in both)
        lines += ["| pictures | use | from | licence |", "|---|---|---|---|"]
        return lines + [f"| {n} | {u} | {_cell(o)} | {_cell(li)} |" for (u, o, li), n in sorted(counts.items())]
    lines += ["| picture | use | from | licence |", "|---|---|---|---|"]
    return lines + [_row(item, use) for item, use in both]


def _row(item: Item, use: str) -> str:
    return f"| {_cell(item.name)} | {use} | {_cell(item.origin)} | {_cell(item.licence)} |"


def _cell(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text).replace("|", "\\|")[:300]
