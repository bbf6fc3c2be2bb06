"""fixtures/mlx/: what MLX's own quantisation gives.

Needs `mlx[cpu]` (Linux) and numpy alone. The weights are those of `weights.py`.

fixtures/mlx/quantize.json: weights of every kind, and codes, scales and biases of `mlx.core.quantize`, to be met
bit for bit, in hexadecimal of the little-endian bytes:

    {"mlx": version, "inputs": {DTYPE: {KIND: values, one row of 128}},
     "cases": [{"dtype", "bits", "group", "kind", "weight", "scales", "biases"}]}

fixtures/mlx/mxfp4.json: a matrix in mode "mxfp4", its codes and scales, and the values of `mlx.core.dequantize`
(bfloat16, which has them all), as float32:

    {"mlx": version, "rows", "columns", "weight", "scales", "values"}

fixtures/mlx/tiny/: a directory as mlx-lm writes it, of some layers of a llama (the configuration says nothing but
the quantisation): config.json, model.safetensors (written by MLX itself), expected.json with the float32 values of
`scales * codes + biases` as the SHA-256 of their bytes, and how far `mlx.core.dequantize`, which computes in the
type of the scales, is from them.
"""

import hashlib
import importlib.metadata
import json
import pathlib

import mlx.core as mx
import numpy as np

from weights import normal

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures" / "mlx"
DTYPES = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
ROW = 128


def kinds() -> dict[str, np.ndarray]:
    base = normal("mlx_quantize", ROW)
    outlier = base.copy()
    outlier[5], outlier[77] = 900.0, -1100.0
    half = np.repeat(np.float32([0.0, 1.5, -2.25, 0.375]), 32)
    ties = (np.arange(ROW) % 31).astype(np.float32) * np.float32(0.5)
    one = np.zeros(ROW, np.float32)
    one[[3, 40, 70, 100]] = [1.0, -1.0, 1e-6, -3e-8]
    shifted = base * np.float32(0.01) + np.float32(10.0)
    return {
        "normal": base,
        "small": base * np.float32(0.02),
        "tiny": base * np.float32(1e-7),
        "large": base * np.float32(9000.0),
        "outliers": outlier,
        "constant groups": half,
        "ties": ties,
        "one value": one,
        "positive": np.abs(base),
        "negative": -np.abs(base),
        "far from zero": shifted,
        "far below zero": -shifted,
        "zeros": np.where(np.arange(ROW) % 2 == 0, np.float32(0.0), np.float32(-0.0)),
    }


def raw(array: mx.array) -> bytes:
    """The little-endian bytes."""
    mx.eval(array)
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).astype("<u2").tobytes()
    return np.ascontiguousarray(np.array(array)).tobytes()


def codes_of(weight: mx.array, bits: int) -> np.ndarray:
    """The stream of bits, first code in the lowest bits."""
    stream = np.unpackbits(np.ascontiguousarray(np.array(weight)).view(np.uint8), axis=-1, bitorder="little")
    stream = stream.reshape(weight.shape[0], -1, bits)
    return (stream * (1 << np.arange(bits, dtype=np.uint32))).sum(-1).astype(np.float32)


def float32_values(weight: mx.array, scales: mx.array, biases: mx.array, bits: int, group: int) -> np.ndarray:
    scale = np.repeat(np.array(scales.astype(mx.float32)), group, axis=1)
    bias = np.repeat(np.array(biases.astype(mx.float32)), group, axis=1)
    return scale * codes_of(weight, bits) + bias


def quantize_cases() -> None:
    inputs, cases = {}, []
    for dtype, kind in DTYPES.items():
        arrays = {name: mx.array(values).astype(kind) for name, values in kinds().items()}
        inputs[dtype] = {name: raw(array).hex() for name, array in arrays.items()}
        names = list(arrays)
        matrix = mx.stack([arrays[name] for name in names])
        for place, bits in enumerate(BITS):
            # Half precision differs in the rounding of scales and biases alone: one group each.
            for group in GROUPS if dtype == "F32" else [GROUPS[place % 3]]:
                weight, scales, biases = mx.quantize(matrix, group_size=group, bits=bits, mode="affine")
                assert scales.dtype == biases.dtype == kind and weight.dtype == mx.uint32
                for row, name in enumerate(names):
                    cases.append({
                        "dtype": dtype, "bits": bits, "group": group, "kind": name,
                        "weight": raw(weight[row]).hex(), "scales": raw(scales[row]).hex(), "biases": raw(biases[row]).hex(),
                    })
    lines = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in cases)
    version = importlib.metadata.version("mlx")
    text = f'{{\n "mlx": "{version}",\n "inputs": {json.dumps(inputs, indent=1)},\n "cases": [\n{lines}\n ]\n}}\n'
    (FIXTURES / "quantize.json").write_text(text)
    print(f"{len(cases)} cases")


def mxfp4() -> None:
    rows, columns = 3, 96
    # A group of each size, one of zeros.
    sizes = np.float32([0.02, 1.0, 0.0, 9000.0, 3e-30, 1e30, 7.0, 0.3, 1e-7]).repeat(32)
    values = mx.array((normal("mlx_mxfp4", rows * columns) * sizes).reshape(rows, columns))
    weight, scales = mx.quantize(values, mode="mxfp4")
    assert weight.dtype == mx.uint32 and scales.dtype == mx.uint8 and scales.shape == (rows, columns // 32)
    back = mx.dequantize(weight, scales, mode="mxfp4").astype(mx.float32)
    case = {
        "mlx": importlib.metadata.version("mlx"), "rows": rows, "columns": columns,
        "weight": raw(weight).hex(), "scales": raw(scales).hex(), "values": raw(back).hex(),
    }
    (FIXTURES / "mxfp4.json").write_text(json.dumps(case, indent=1) + "\n")
    print("mxfp4", rows * columns, "values")


# Layer, rows, columns, dtype, parameters of its own: (group, bits), False or None for those of all layers.
TINY = [
    ("model.embed_tokens", 20, 64, "BF16", None),
    ("model.layers.0.self_attn.q_proj", 32, 64, "BF16", None),
    ("model.layers.0.self_attn.k_proj", 16, 128, "F16", (128, 3)),
    ("model.layers.0.self_attn.v_proj", 16, 64, "BF16", (32, 6)),
    ("model.layers.0.self_attn.o_proj", 17, 64, "F32", (32, 5)),
    ("model.layers.0.mlp.gate_proj", 8, 96, "F16", (32, 2)),
    ("model.layers.0.mlp.down_proj", 8, 64, "BF16", (64, 8)),
    ("model.layers.0.mlp.router", 4, 64, "BF16", False),
]
ALL = (64, 4)


def tiny() -> None:
    directory = FIXTURES / "tiny"
    directory.mkdir(parents=True, exist_ok=True)
    quantization = {"group_size": ALL[0], "bits": ALL[1], "mode": "affine"}
    tensors, expected = {"model.norm.weight": mx.ones(64, mx.bfloat16)}, []
    for name, rows, columns, dtype, own in TINY:
        values = mx.array(normal(name, rows * columns).reshape(rows, columns)).astype(DTYPES[dtype])
        if own is False:
            quantization[name] = False
            tensors[f"{name}.weight"] = values
            continue
        if own is not None:
            quantization[name] = {"group_size": own[0], "bits": own[1]}
        group, bits = own or ALL
        weight, scales, biases = mx.quantize(values, group_size=group, bits=bits)
        tensors |= {f"{name}.weight": weight, f"{name}.scales": scales, f"{name}.biases": biases}
        ours = float32_values(weight, scales, biases, bits, group)
        theirs = mx.dequantize(weight, scales, biases, group_size=group, bits=bits).astype(mx.float32)
        wide = mx.dequantize(
            weight, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group, bits=bits
        )
        # In float32, MLX means just these values.
        assert np.array_equal(np.array(wide), ours), name
        expected.append({
            "name": f"{name}.weight", "shape": [rows, columns], "group": group, "bits": bits, "scales": dtype,
            "sha256": hashlib.sha256(ours.astype("<f4").tobytes()).hexdigest(),
            "first": [float(value) for value in ours[0, :4]],
            "mlx_distance": float(np.abs(np.array(theirs) - ours).max()),
        })
    mx.save_safetensors(str(directory / "model.safetensors"), tensors, metadata={"format": "mlx"})
    config = {"model_type": "llama", "quantization": quantization, "quantization_config": quantization}
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (directory / "expected.json").write_text(json.dumps({"tensors": expected}, indent=1) + "\n")
    print("tiny", sum(path.stat().st_size for path in directory.iterdir()), "bytes")


if __name__ == "__main__":
    quantize_cases()
    mxfp4()
    tiny()
