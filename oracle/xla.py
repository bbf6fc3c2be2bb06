"""Runs our portable text under XLA:CPU (jaxlib) and compares its greedy tokens with the reference.

    python oracle/xla.py --stablemate target/release/stablemate [CASE ...]

For each fixture the text is printed by `stablemate emit`: a prefill step of exactly the prompt's length and a
decode step. The weights come from the documented function (weights.py), the arguments are filled by the names
in the text's signature, and the cache is passed from step to step. Prints one line per case and a total; the
exit status is 1 if any token differs.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

import jax
import ml_dtypes
import numpy
import jax.extend.backend
import jaxlib
from jaxlib import xla_client

import weights

FIXTURES = pathlib.Path(__file__).parent.parent / "fixtures"
BLOCK_LENGTH = 16
DTYPES = {"f32": numpy.float32, "f16": numpy.float16, "i16": numpy.int16, "i32": numpy.int32}


class Step:
    """One entry point, compiled by XLA."""

    def __init__(self, stablemate, case, entry, tokens, context):
        command = [stablemate, "emit", str(FIXTURES / case), "--entry", entry]
        command += ["--tokens", str(tokens), "--context", str(context)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        # XLA calls the function it runs `main`.
        text = text.replace(f"@{entry}(", "@main(", 1)
        header = text[text.index("@main(") : text.index(") -> ")]
        self.arguments = [
            (name, tuple(int(size) for size in shape.split("x") if size), DTYPES[element])
            for name, shape, element in re.findall(r"%([\w.]+): tensor<((?:\d+x)*)(\w+)>", header)
        ]
        backend = jax.extend.backend.get_backend("cpu")
        devices = xla_client.DeviceList((backend.local_devices()[0],))
        self.program = backend.compile_and_load(text, devices, xla_client.CompileOptions())

    def __call__(self, values):
        """Values by name -> results in order, as numpy arrays."""
        arguments = []
        for name, shape, dtype in self.arguments:
            value = numpy.asarray(values[name]).astype(dtype)
            assert value.shape == shape, (name, value.shape, shape)
            arguments.append(jax.device_put(value))
        results = self.program.execute_sharded(arguments).disassemble_into_single_device_arrays()
        return [numpy.array(result[0]) for result in results]


def parameters(expected):
    """The case's weights by name, as the text takes them."""
    tensors = {}
    for tensor in expected["tensors"]:
        dtype = tensor.get("dtype", "float32")
        values = weights.fill(tensor["name"], tensor["shape"], tensor["scale"], tensor["offset"], dtype)
        if dtype == "float16":
            values = values.astype(numpy.float16)
        elif dtype == "bfloat16" and values.ndim > 1:
            # The text takes bf16 matrices as their bits.
            values = values.astype(ml_dtypes.bfloat16).view(numpy.int16)
        tensors[tensor["name"]] = values
    return tensors


def greedy(stablemate, case):
    """-> (tokens made, tokens expected, largest difference of the prompt's logits)."""
    expected = json.loads((FIXTURES / case / "expected.json").read_text())
    prompt, count = expected["prompt_ids"], len(expected["token_ids"])
    context = -(-(len(prompt) + count) // BLOCK_LENGTH) * BLOCK_LENGTH
    prefill = Step(stablemate, case, "prefill", len(prompt), context)
    decode = Step(stablemate, case, "decode", 1, context)
    values = parameters(expected)
    values["block_tables"] = [range(1, context // BLOCK_LENGTH + 1)]
    states = [argument for argument in decode.arguments if argument[0].startswith("cache.")]
    for name, shape, dtype in states:
        values[name] = numpy.zeros(shape, dtype)

    def run(step, tokens, start, length):
        positions = [start + n for n in range(len(tokens))]
        values.update(tokens=tokens, positions=positions, sequences=[0] * len(tokens))
        values.update(rows=[len(tokens) - 1], lengths=[length] * len(tokens))
        logits, *state = step(values)
        values.update({name: value for (name, _, _), value in zip(states, state)})
        return logits[0]

    logits = run(prefill, prompt, 0, len(prompt))
    difference = float(numpy.abs(logits - numpy.float32(expected["prompt_logits"])).max())
    made = [int(logits.argmax())]
    while len(made) < count:
        position = len(prompt) + len(made) - 1
        made.append(int(run(decode, made[-1:], position, position + 1).argmax()))
    return made, expected["token_ids"], difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stablemate", default="target/release/stablemate")
    parser.add_argument("cases", nargs="*")
    arguments = parser.parse_args()
    every = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))
    cases = arguments.cases or every
    exact = 0
    for case in cases:
        made, expected, difference = greedy(arguments.stablemate, case)
        same = sum(a == b for a, b in zip(made, expected))
        exact += made == expected
        print(f"{case:28} {same}/{len(expected)} tokens, prompt logits within {difference:.1e}", flush=True)
    print(f"{exact} of {len(cases)} cases token-exact under XLA:CPU (jaxlib {jaxlib.__version__})")
    return 0 if exact == len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
