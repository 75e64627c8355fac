#!/usr/bin/env python3
"""Writes tests/data/quant/<type>.bin: random blocks and the floats they stand for.

The floats come from the PyPI package `gguf` (pip install gguf numpy), an implementation
independent of ours. A file is n raw blocks followed by n * block_size little-endian floats.

Usage: scripts/make_quant_goldens.py [output folder]
"""

import pathlib
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Byte offsets of the fp16 fields of each type. MXFP4 has an exponent byte instead.
FP16_OFFSETS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "MXFP4": [], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_XS": [0],
}
SPECIAL_SCALES = [0.0, 2.0**-24, -(2.0**-15), 65504.0]
SPECIAL_EXPONENTS = [0, 1, 2, 252]
MAX_EXPONENT = 252  # larger ones overflow a float


def random_blocks(name: str, rng: np.random.Generator) -> np.ndarray:
    """Bytes [n, block bytes]: any codes, fp16 fields of ordinary size and a few extreme ones."""
    block_size, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n = 24 if block_size == 32 else 6
    blocks = rng.integers(0, 256, size=(n, block_bytes), dtype=np.uint8)
    for offset in FP16_OFFSETS[name]:
        scales = rng.normal(0, 0.05, size=n)
        scales[: len(SPECIAL_SCALES)] = SPECIAL_SCALES
        blocks[:, offset : offset + 2] = scales.astype("<f2").reshape(n, 1).view(np.uint8)
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(0, MAX_EXPONENT + 1, size=n)
        blocks[: len(SPECIAL_EXPONENTS), 0] = SPECIAL_EXPONENTS
    return blocks


def main() -> None:
    repository = pathlib.Path(__file__).resolve().parent.parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else repository / "tests/data/quant"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed=1)
    for name in FP16_OFFSETS:
        blocks = random_blocks(name, rng)
        values = dequantize(blocks, GGMLQuantizationType[name]).astype("<f4")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: blocks decode to values that are not finite")
        (folder / f"{name.lower()}.bin").write_bytes(blocks.tobytes() + values.tobytes())


if __name__ == "__main__":
    main()
