"""Options that several commands have, each written once."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        help="demo, timm/NAME, torchvision/NAME, hf/ID, package.module:factory, "
        "a .onnx, .tflite or .pt2 file, or http(s)://…"
    ),
]
Weights = Annotated[str | None, typer.Option(help="Checkpoint to load: .safetensors, or weights-only .pt.")]
ModelArg = Annotated[list[str] | None, typer.Option(help="key=value for the model's factory; may be repeated.")]
Preprocessing = Annotated[
    str | None, typer.Option(help="JSON file, or 'field=value;…': resize_px, resampler, mean, std, view_size, …")
]
Scores = Annotated[str | None, typer.Option(help="What the model answers: logits, probabilities or sigmoid.")]
ClassOffset = Annotated[
    int | None, typer.Option(min=0, help="First outputs that are no classes: 1 with a background class.")
]
ClassNames = Annotated[Path | None, typer.Option(help="Text file, one class name per line.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. [default: an accelerator if any]")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the model on a CPU.")]
Runtime = Annotated[
    str, typer.Option(help="What answers for a PyTorch model: torch, onnx, openvino, or auto (the fastest).")
]
Step = Annotated[
    float | None,
    typer.Option(help="How far one step goes: px of subpixel [default: 0.125], degrees of rotate [default: 1]."),
]
On = Annotated[
    str | None,
    typer.Option(help="What subpixel moves, crop or roll, or what scale makes larger, crop or canvas. [default: crop]"),
]
Fill = Annotated[
    str | None, typer.Option(help="Round the picture on a canvas: black, mean, noise or inpaint. [default: black]")
]
Size = Annotated[int | None, typer.Option(help="Short side of the picture on a canvas, in px. [default: 100 of 224]")]
CanvasSize = Annotated[int | None, typer.Option(help="Side of the canvas, in px. [default: the view's]")]
Direction = Annotated[str | None, typer.Option(help="vertical, horizontal or diagonal. [default: by walk]")]
Enlarge = Annotated[bool, typer.Option(help="Enlarge images where the walk would leave them.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")]
Format = Annotated[str, typer.Option(help="What to print: text or json.")]
