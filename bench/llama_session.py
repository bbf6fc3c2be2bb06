"""llama.cpp as the other side of `cargo xtask bench`: loads a model once, then measures what stdin asks for.

    python bench/llama_session.py MODEL.gguf --threads 2

Requests and answers are JSON, one a line; `xtask/src/bench/session.rs` has the protocol. It is measured as
llama-bench does it: random tokens, micro-batches of 512, an f16 cache, only the calls of `llama_decode` timed. Flash
attention and the layout of the cache for several sequences are what is fastest: each measurement is tried with all of
them when it is first asked for.
"""

import argparse
import ctypes
import itertools
import json
import os
import random
import resource
import sys
import time

import llama_cpp

BATCH = 2048  # tokens a call may hold, and
MICRO_BATCH = 512  # tokens llama.cpp computes at a time: both llama-bench's defaults


class Failure(Exception):
    """What llama.cpp refuses; told to the other side."""


@llama_cpp.llama_log_callback
def log(level, text, _data):
    """Errors only: the rest is a page for each context. 4 is ggml's number for an error."""
    if level == 4:
        print(text.decode(errors="replace"), end="", file=sys.stderr)


class Context:
    """A cache for some sequences, the batch that fills it, and what is in it."""

    def __init__(self, model, threads, sequences, length, flash, unified):
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = sequences * (-(-length // 256) * 256)
        parameters.n_batch = BATCH
        parameters.n_ubatch = MICRO_BATCH
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = (
            llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F16
        parameters.kv_unified = unified
        parameters.no_perf = True
        self.handle = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise Failure("llama.cpp made no context")
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self.memory = llama_cpp.llama_get_memory(self.handle)
        self.vocabulary = model.vocabulary
        self.sequences = sequences
        self.depth = 0

    def free(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.handle)

    def clear(self):
        llama_cpp.llama_memory_clear(self.memory, False)
        self.depth = 0

    def fill(self, depth):
        """Brings every sequence to `depth` tokens: by forgetting what is beyond, if it has so many."""
        if self.depth > depth and depth > 0:
            if not llama_cpp.llama_memory_seq_rm(self.memory, -1, depth, -1):
                raise Failure("llama.cpp did not forget the end of its sequences")
            self.depth = depth
        elif self.depth != depth:
            self.clear()
            for sequence in range(self.sequences if depth else 0):
                for start in range(0, depth, BATCH):
                    self.decode([(sequence, at) for at in range(start, min(depth, start + BATCH))])
            self.depth = depth

    def decode(self, places):
        """Computes one random token at each (sequence, position) and the logits of the last of each sequence."""
        batch, last = self.batch, {sequence: index for index, (sequence, _) in enumerate(places)}
        batch.n_tokens = len(places)
        for index, (sequence, position) in enumerate(places):
            batch.token[index] = random.randrange(self.vocabulary)
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = last[sequence] == index
        start = time.perf_counter()
        status = llama_cpp.llama_decode(self.handle, batch)
        llama_cpp.llama_synchronize(self.handle)
        seconds = time.perf_counter() - start
        if status != 0:
            raise Failure(f"llama_decode answered {status} for {len(places)} tokens")
        return seconds


class Model:
    """The weights, and the contexts of the measurement that was asked for last."""

    def __init__(self, path, threads, mmap):
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if mmap else llama_cpp.LLAMA_LOAD_MODE_NONE
        self.handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.handle:
            sys.exit(f"llama.cpp cannot load {path}")
        self.threads = threads
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.handle))
        self.key = None
        self.context = None
        self.best = {}  # the options that were fastest, by measurement

    def measure(self, request):
        key = tuple(sorted(request.items()))
        if key != self.key:
            self.release()
            self.choose(key, request)
        seconds, tokens = run(self.context, request)
        return {
            "seconds": seconds,
            "tokens": tokens,
            "tokens_per_second": tokens / seconds,
            "flash_attention": self.best[key][0],
            "unified_cache": self.best[key][1],
        }

    def choose(self, key, request):
        """Makes the context of a measurement; when it is new, tries every way to do it (this warms up as well)."""
        sequences = request.get("sequences", 1)
        length = request.get("depth", 0) + request["tokens"]
        options = [self.best[key]] if key in self.best else itertools.product(
            (True, False), (True, False) if sequences > 1 else (True,))
        fastest = None
        for flash, unified in options:
            context = Context(self, self.threads, sequences, length, flash, unified)
            seconds = min(run(context, request)[0] for _ in range(3))
            if fastest is None or seconds < fastest:
                if self.context:
                    self.context.free()
                fastest, self.context, self.best[key] = seconds, context, (flash, unified)
            else:
                context.free()
        self.key = key

    def release(self):
        if self.context:
            self.context.free()
        self.context = self.key = None


def run(context, request):
    """One measurement; returns seconds and how many tokens they were for."""
    kind, tokens = request["kind"], request["tokens"]
    if kind == "prefill":
        context.clear()
        seconds = 0.0
        for start in range(0, tokens, BATCH):
            seconds += context.decode([(0, at) for at in range(start, min(tokens, start + BATCH))])
        context.depth = tokens
        return seconds, tokens
    depth, sequences = request.get("depth", 0), request.get("sequences", 1)
    context.fill(depth)
    seconds = 0.0
    for step in range(tokens):
        seconds += context.decode([(sequence, depth + step) for sequence in range(sequences)])
    context.depth = depth + tokens
    return seconds, tokens * sequences


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def answer(model, request):
    match request.get("kind"):
        case "prefill" | "decode":
            return model.measure(request)
        case "memory":
            return {"peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        case kind:
            return {"error": f"kind is {kind!r}; prefill, decode and memory are known"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--mmap", action="store_true", help="map the file, instead of reading it into memory")
    arguments = parser.parse_args()
    random.seed(0)
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    start = time.perf_counter()
    model = Model(arguments.model, arguments.threads, arguments.mmap)
    ready = {
        "ready": True,
        "load_seconds": time.perf_counter() - start,
        "weights_bytes": llama_cpp.llama_model_size(model.handle),
        "resident_bytes": resident_bytes(),
        "version": f"llama-cpp-python {llama_cpp.__version__}",
        "system": llama_cpp.llama_print_system_info().decode(),
    }
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        try:
            result = answer(model, json.loads(line))
        except (Failure, ValueError, KeyError) as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)
    # The model is left to the end of the process.


if __name__ == "__main__":
    main()
