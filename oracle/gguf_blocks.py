"""fixtures/gguf_blocks.json: blocks of every GGUF encoding we read, and what gguf-py makes of them.

    {"gguf": version, "encodings": {NAME: {"elements": per block, "bytes": per block,
      "blocks": [{"kind", "bytes": hex, "values": hex of the little-endian float32 values}]}}}

Bytes come from splitmix64, so that every quantised code is met; the float16 scales are then written over with chosen
ones: ordinary, negative, subnormal, zero, large. Values are to be met bit for bit: gguf-py computes in float32, one
rounding per operation and no fma (for instance Q4_K: (d * sc) * q - (dmin * m)).
"""

import importlib.metadata
import json
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

from weights import fnv1a, mix

# Where a block keeps its float16 scales.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
# Pairs (scale, minimum).
CHOSEN = {
    "ordinary": (0.0123, 0.0457),
    "negative scale": (-0.0371, 0.25),
    "negative minimum": (0.5, -1.75),
    "subnormal": (3.0e-7, -6.0e-8),
    "zero scale": (0.0, 0.125),
    "large": (1234.0, -60000.0),
}
PLAIN = 32  # elements of a "block" of F32, F16, BF16


def random_bytes(label: str, count: int) -> np.ndarray:
    return mix(fnv1a(label), (count + 7) // 8).view(np.uint8)[:count].copy()


def plain(name: str) -> list[tuple[str, np.ndarray]]:
    """Ordinary numbers of every size, and the corners: zeros, subnormals, the largest."""
    raw = random_bytes(f"gguf_blocks/{name}", PLAIN * 8).view(np.float16).astype(np.float32)
    ordinary = raw[np.isfinite(raw)][:PLAIN]
    corners = {
        "F32": [0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800001, 0xBF7FFFFF],
        "F16": [0, 0x8000, 1, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C01, 0xBBFF],
        "BF16": [0, 0x8000, 1, 0x8001, 0x007F, 0x0080, 0x7F7F, 0xFF7F, 0x3F81, 0xBF7F],
    }[name]
    corners = (corners * 4)[:PLAIN]
    if name == "F32":
        return [("ordinary", ordinary.view(np.uint8)), ("corners", np.array(corners, "<u4").view(np.uint8))]
    if name == "F16":
        half = ordinary.astype(np.float16).view(np.uint8)
    else:
        half = (ordinary.view(np.uint32) >> 16).astype("<u2").view(np.uint8)
    return [("ordinary", half), ("corners", np.array(corners, "<u2").view(np.uint8))]


def quantised(name: str, size: int) -> list[tuple[str, np.ndarray]]:
    blocks = []
    for kind, values in CHOSEN.items():
        block = random_bytes(f"gguf_blocks/{name}/{kind}", size)
        if name == "Q6_K" or name == "Q3_K":
            values = (values[0] / 8,)  # signed 6- or 8-bit scales come on top
        for at, value in zip(SCALES[name], values):
            block[at:at + 2] = np.array([value], "<f2").view(np.uint8)
        blocks.append((kind, block))
    for kind, byte in (("all bits clear", 0x00), ("all bits set", 0xFF)):
        block = np.full(size, byte, np.uint8)
        for at, value in zip(SCALES[name], (0.0625, -0.375)):
            block[at:at + 2] = np.array([value], "<f2").view(np.uint8)
        blocks.append((kind, block))
    return blocks


def mxfp4(size: int) -> list[tuple[str, np.ndarray]]:
    """Scales are powers of two: the byte less 127. Of the largest, 2^127, f32 has not all values."""
    blocks = []
    for label, scale in {"ordinary": 121, "one": 127, "large": 200, "smallest": 0, "second": 1, "largest": 252}.items():
        block = random_bytes(f"gguf_blocks/MXFP4/{label}", size)
        block[0] = scale
        blocks.append((label, block))
    every = np.array([120, *(n * 16 + (15 - n) for n in range(16))], np.uint8)
    return [*blocks, ("every code", every)]


def main() -> None:
    encodings = {}
    for name in ["F32", "F16", "BF16", *SCALES, "MXFP4"]:
        kind = Kind[name]
        elements, size = GGML_QUANT_SIZES[kind]
        if name == "MXFP4":
            blocks = mxfp4(size)
        elif name in SCALES:
            blocks = quantised(name, size)
        else:
            blocks = plain(name)
            elements, size = PLAIN, PLAIN * size
        rows = []
        for label, block in blocks:
            assert block.shape == (size,), (name, block.shape)
            if name == "F32":
                values = block.view("<f4")
            elif name == "F16":
                values = dequantize(block.view("<f2"), kind)
            else:
                values = dequantize(block, kind)
            values = np.ascontiguousarray(values, "<f4")
            assert values.shape == (elements,) and np.isfinite(values).all(), (name, label)
            rows.append({"kind": label, "bytes": block.tobytes().hex(), "values": values.tobytes().hex()})
        encodings[name] = {"elements": elements, "bytes": size, "blocks": rows}
    out = pathlib.Path(__file__).parent.parent / "fixtures" / "gguf_blocks.json"
    lines = []
    for name, entry in encodings.items():
        head = f'  "{name}": {{"elements":{entry["elements"]},"bytes":{entry["bytes"]},"blocks":[\n'
        lines.append(head + ",\n".join("   " + json.dumps(row, separators=(",", ":")) for row in entry["blocks"]) + "]}")
    version = importlib.metadata.version("gguf")
    out.write_text(f'{{\n "gguf": "{version}",\n "encodings": {{\n' + ",\n".join(lines) + "\n }\n}\n")
    print(f"{sum(len(e['blocks']) for e in encodings.values())} blocks of {len(encodings)} encodings")


if __name__ == "__main__":
    main()
