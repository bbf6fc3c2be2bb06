"""The weights of every tiny fixture: one function of (tensor name, index) -> float32.

Nothing random is stored. Both sides (this file and the Rust tests) compute

    seed  = FNV-1a 64 over the UTF-8 bytes of the tensor's checkpoint name
    z     = seed + (index + 1) * 0x9E3779B97F4A7C15                 (mod 2^64)
    z    ^= z >> 30;  z *= 0xBF58476D1CE4E5B9                       (mod 2^64)
    z    ^= z >> 27;  z *= 0x94D049BB133111EB                       (mod 2^64)
    z    ^= z >> 31
    s     = sum of the four 16-bit lanes of z                       (0 ..= 262140)
    n     = float32(s - 131070) * float32(sqrt(3) / 65536)          (one float32 rounding, about N(0, 1))
    value = offset + float32(scale * n)                             (float32: product rounded, sum rounded; no fma)

`index` is the row-major flat index. `float32(sqrt(3) / 65536)` is 2.6428997e-05, bits 0x37DDB3D7.
`scale` and `offset` belong to the tensor and stand in expected.json; they are multiples of 1/1024, so
that they are the same number in decimal, in float64 and in float32.
A tensor of dtype bfloat16 or float16 is this float32 value rounded to nearest, ties to even; the reference
then computes in float32 on the rounded values.
A tensor of dtype uint8 holds codes, not numbers: byte = offset + (z mod scale), so `offset` is the smallest byte and
`scale` is how many different ones there are.

Known values, checked by `python weights.py` (name, index, scale, offset -> float32, bits):

    model.embed_tokens.weight 0 1.0 0.0 -> 0.500988066, 0x3F0040C1
    model.layers.0.self_attn.q_proj.weight 1 0.25 0.0 -> -0.0504727773, 0xBD4EBC8B
    model.norm.weight 41 0.2001953125 1.0 -> 0.863620162, 0x3F5D1636

and of uint8 (name, scale, offset -> the first bytes):

    model.layers.0.mlp.experts.down_proj_blocks 256 0 -> 193 11 178 116 63 184
    model.layers.0.mlp.experts.down_proj_scales 4 120 -> 123 123 121 120 123 122
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
UNIT = np.float32(math.sqrt(3.0) / 65536.0)


def fnv1a(name: str) -> int:
    """FNV-1a, 64 bits, over the UTF-8 bytes."""
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def mix(seed: int, count: int, start: int = 0) -> np.ndarray:
    """The splitmix64 outputs numbered start .. start + count of the stream `seed`."""
    with np.errstate(over="ignore"):
        index = np.arange(start + 1, start + count + 1, dtype=np.uint64)
        z = np.uint64(seed) + index * np.uint64(GOLDEN)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z


def normal(name: str, count: int, start: int = 0) -> np.ndarray:
    """About N(0, 1): the sum of four uniform 16-bit lanes, centred and scaled."""
    z = mix(fnv1a(name), count, start)
    lanes = z.view(np.uint16).reshape(count, 4).astype(np.int32)
    s = lanes.sum(axis=1, dtype=np.int32)
    return (s - 131070).astype(np.float32) * UNIT


def fill(name: str, shape, scale: float, offset: float, dtype: str = "float32") -> np.ndarray:
    """The tensor, as float32 (already rounded to `dtype`), or as bytes if `dtype` is uint8."""
    if dtype == "uint8":
        assert scale >= 1 and offset >= 0 and offset + scale <= 256, (name, scale, offset)
        codes = np.uint64(offset) + mix(fnv1a(name), math.prod(shape)) % np.uint64(scale)
        return codes.astype(np.uint8).reshape(shape)
    scale32, offset32 = np.float32(scale), np.float32(offset)
    assert float(scale32) == scale and float(offset32) == offset, (name, scale, offset)
    value = offset32 + scale32 * normal(name, math.prod(shape))
    assert value.dtype == np.float32
    return round_to(value, dtype).reshape(shape)


def round_to(value: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values rounded to nearest-even in `dtype`, still held as float32."""
    if dtype == "float32":
        return value
    if dtype == "float16":
        return value.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = value.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return ((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)
    raise ValueError(f"no such dtype: {dtype}")


def one(name: str, index: int, scale: float, offset: float) -> np.float32:
    """The same value by plain integers: the readable form, and the self-check of the vectorised one."""
    z = (fnv1a(name) + (index + 1) * GOLDEN) & MASK
    z ^= z >> 30
    z = (z * 0xBF58476D1CE4E5B9) & MASK
    z ^= z >> 27
    z = (z * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    s = sum((z >> shift) & 0xFFFF for shift in (0, 16, 32, 48))
    n = np.float32(s - 131070) * UNIT
    return np.float32(offset) + np.float32(scale) * n


KNOWN = [
    ("model.embed_tokens.weight", 0, 1.0, 0.0),
    ("model.layers.0.self_attn.q_proj.weight", 1, 0.25, 0.0),
    ("model.norm.weight", 41, 0.2001953125, 1.0),
]

KNOWN_BYTES = [
    ("model.layers.0.mlp.experts.down_proj_blocks", 256, 0),
    ("model.layers.0.mlp.experts.down_proj_scales", 4, 120),
]

if __name__ == "__main__":
    print(f"unit {UNIT!r} bits 0x{UNIT.view(np.uint32):08X}")
    for name, index, scale, offset in KNOWN:
        got = one(name, index, scale, offset)
        assert got == fill(name, (index + 1,), scale, offset)[index]
        line = f"{name} {index} {scale} {offset} -> {got:.9g}, 0x{got.view(np.uint32):08X}"
        print(line)
        assert line in __doc__, "the docstring's known values are stale"
    for name, scale, offset in KNOWN_BYTES:
        values = " ".join(str(byte) for byte in fill(name, (6,), scale, offset, "uint8"))
        line = f"{name} {scale} {offset} -> {values}"
        print(line)
        assert line in __doc__, "the docstring's known bytes are stale"
    sample = normal("self-check", 1 << 18)
    print(f"mean {sample.mean():.4f} std {sample.std():.4f}")
    import torch

    wide = torch.from_numpy(fill("self-check", (4096,), 1.0, 0.0))
    for dtype in ("bfloat16", "float16"):
        ours = torch.from_numpy(round_to(wide.numpy(), dtype))
        assert torch.equal(ours, wide.to(getattr(torch, dtype)).float()), dtype
    print("ok")
