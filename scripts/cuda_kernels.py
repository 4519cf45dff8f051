"""The kernels in machine code for GPUs, by name, and which of ONNX Runtime's no model of this project needs."""

import re

from cuda_fatbin import FatbinError

ELF, ZSTD = b"\x7fELF", b"\x28\xb5\x2f\xfd"
# A kernel's code is the section .text.NAME.
KERNEL = re.compile(rb"\.text\.([\w$.]+)")
# Of attention, of products with quantised or grouped weights, and of mixtures of experts.
NEEDLESS = re.compile(rb"attention|cutlass|flash|fmha|fpA_intB|kernel_mha|moe", re.IGNORECASE)


def machine_code(payload: bytes) -> bytes:
    """The ELF file that an entry of a fat binary holds."""
    if payload.startswith(ELF):
        return payload
    if not payload.startswith(ZSTD):
        raise FatbinError("machine code is neither an ELF file nor compressed by zstd")
    try:
        import zstandard
    except ImportError as error:
        raise FatbinError("machine code is compressed by zstd: install the Python package zstandard") from error
    # Zeros fill the entry up after the frame, which the object ignores.
    return zstandard.ZstdDecompressor().decompressobj().decompress(payload)


def is_needless(payload: bytes) -> bool:
    """Whether all kernels of an entry are of families that no model needs."""
    names = set(KERNEL.findall(machine_code(payload)))
    return bool(names) and all(NEEDLESS.search(name) for name in names)
