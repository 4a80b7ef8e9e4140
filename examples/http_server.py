"""Put any model that shiftable can open behind a server, by the protocol of docs/http.md.

    pip install 'shiftable[serve,torch]'
    python examples/http_server.py torchvision/squeezenet1_1 --port 8321
    shiftable audit http://127.0.0.1:8321/ photos/ --out audit     # in another terminal

It answers on 127.0.0.1 alone, without passwords or TLS: what is reached from other machines belongs behind a proxy
that does both.
"""

import argparse
import asyncio
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import shiftable as sh
from shiftable.engine import keep_freed_memory
from shiftable.errors import InputError
from shiftable.models.preprocessing import parse_changes, parse_value

MOST_VIEWS = 64
"""In one request."""


def description(model: Any) -> dict[str, Any]:
    """What a client must know before it asks."""
    return {
        "shiftable": 1,
        "task": model.task,
        "view_size": list(model.view_size),
        "scores": model.scores,
        "preprocessing": model.preprocessing.to_json(),
        "class_names": model.class_names,
        "weights_sha256": model.weights_sha256,
        "batch_size": MOST_VIEWS,
        "size": dict(getattr(model, "size", {})),
    }


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The body, read no further than a request may be large, whatever it says of its length."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, f"more than {MOST_VIEWS} views")
    return bytes(body)


def read_views(body: bytes, view_size: tuple[int, int]) -> np.ndarray:
    """The views in a .npy. The header is checked before memory is taken, and nothing is ever unpickled."""
    file = BytesIO(body)
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of .npy")
        shape, columns, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise HTTPException(400, f"not a .npy: {' '.join(str(error).split())[:200]}") from None
    if dtype != np.uint8 or columns or len(shape) != 4 or shape[1:] != (*view_size, 3) or shape[0] < 1:
        raise HTTPException(400, f"views are uint8 (n, {view_size[0]}, {view_size[1]}, 3), not {dtype} {shape}")
    pixels = np.frombuffer(body, np.uint8, offset=file.tell())
    if pixels.size != prod(shape):
        raise HTTPException(400, f"{shape} in {pixels.size} bytes")
    return pixels.reshape(shape)


def application(model: Any) -> Starlette:
    """GET / describes the model, POST / answers views."""
    one_at_a_time = ThreadPoolExecutor(1)  # the model; requests are read and answered meanwhile
    most_bytes = MOST_VIEWS * prod(model.view_size) * 3 + 10_000

    async def describe(_: Request) -> Response:
        return JSONResponse(description(model))

    async def answer(request: Request) -> Response:
        views = read_views(await read_body(request, most_bytes), model.view_size)
        scores = await asyncio.get_running_loop().run_in_executor(one_at_a_time, model, views)
        file = BytesIO()
        np.save(file, np.ascontiguousarray(scores, dtype=np.float32), allow_pickle=False)
        return Response(file.getvalue(), media_type="application/x-npy")

    return Starlette(routes=[Route("/", describe, methods=["GET"]), Route("/", answer, methods=["POST"])])


def main() -> int:
    """Open the model, say where it answers, answer until stopped."""
    parser = argparse.ArgumentParser(description="Serve a model for shiftable audit http://…")
    parser.add_argument("model", help="demo, timm/NAME, torchvision/NAME, FILE.onnx, …")
    parser.add_argument("--port", type=int, default=8321, help="0 takes any that is free")
    parser.add_argument("--weights", help="a safetensors checkpoint")
    parser.add_argument("--model-arg", action="append", default=[], help="key=value for the model's factory")
    parser.add_argument("--preprocessing", help="JSON file, or 'field=value;…'")
    options = parser.parse_args()
    keep_freed_memory()
    pairs = [argument.partition("=") for argument in options.model_arg]
    try:
        changes = parse_changes(options.preprocessing) if options.preprocessing else None
        arguments = {name: parse_value(value) for name, _, value in pairs}
        model = sh.open_model(options.model, weights=options.weights, model_args=arguments, preprocessing=changes)
        listening = socket.create_server(("127.0.0.1", options.port))
    except (InputError, OSError, OverflowError) as error:
        print(f"http_server: {error}", file=sys.stderr)
        return 2
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    uvicorn.Server(uvicorn.Config(application(model), log_level="warning")).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
