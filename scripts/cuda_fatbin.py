#!/usr/bin/env python3
"""Keeps the GPU code of one architecture in a shared object, and zeroes the rest, so that the file compresses well.

    scripts/cuda_fatbin.py libonnxruntime_providers_cuda.so PRUNED.so 90

Kernels lie in the ELF section .nv_fatbin: fat binaries, each a header and one entry for each architecture and kind,
machine code (a cubin) or PTX, which the driver compiles when it loads a module. Sizes, offsets and headers stay as
they are, so the file is loaded as before, and the driver never reads the entries of other architectures. A fat binary
without machine code for the architecture keeps the best that the architecture can run.
"""

import argparse
import dataclasses
import pathlib
import struct
import sys
from collections import Counter

ELF_MAGIC, SECTION = b"\x7fELF\x02\x01", b".nv_fatbin"
# Magic, version, bytes of the header, bytes of the entries after it.
FATBIN_HEADER = struct.Struct("<IHHQ")
FATBIN_MAGIC, FATBIN_VERSION, FATBIN_ALIGNMENT = 0xBA55ED50, 1, 8
# Kind, version, bytes of the header, bytes of the payload; the architecture follows at ARCHITECTURE.
ENTRY_HEADER = struct.Struct("<HHIQ")
ARCHITECTURE, ENTRY_HEADER_BYTES = 0x1C, 0x20
PTX, CUBIN = 1, 2
KINDS = {PTX: "PTX", CUBIN: "machine code"}


class FatbinError(Exception):
    """Why a file cannot be pruned."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """GPU code of one kind for one architecture; 90 is compute capability 9.0."""

    kind: int
    architecture: int
    payload: range

    def runs_on(self, architecture: int) -> bool:
        """Machine code runs on later minor versions, PTX on all later ones."""
        if self.architecture > architecture:
            return False
        return self.kind == PTX or self.architecture // 10 == architecture // 10


def section(elf: bytes, wanted: bytes) -> range:
    """The bytes of a section of an ELF file."""
    if elf[: len(ELF_MAGIC)] != ELF_MAGIC:
        raise FatbinError("expected a little-endian ELF file of 64 bits")
    try:
        (table,) = struct.unpack_from("<Q", elf, 0x28)
        size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
        (texts,) = struct.unpack_from("<Q", elf, table + names * size + 0x18)
        for index in range(count):
            header = table + index * size
            name = texts + struct.unpack_from("<I", elf, header)[0]
            if elf[name : name + len(wanted) + 1] == wanted + b"\0":
                start, length = struct.unpack_from("<QQ", elf, header + 0x18)
                break
        else:
            raise FatbinError(f"there is no section {wanted.decode()}, so no GPU code")
    except struct.error as error:
        raise FatbinError(f"the table of sections ends too early: {error}") from error
    if start + length > len(elf):
        raise FatbinError(f"the section {wanted.decode()} goes beyond the end of the file")
    return range(start, start + length)


def entries(elf: bytes, start: int, end: int) -> list[Entry]:
    """The entries of a fat binary, which lie from `start` to `end`."""
    found = []
    while start < end:
        if start + ENTRY_HEADER_BYTES > end:
            raise FatbinError(f"the entry at {start:#x} goes beyond its fat binary")
        kind, _, header, payload = ENTRY_HEADER.unpack_from(elf, start)
        if kind not in KINDS:
            raise FatbinError(f"the entry at {start:#x} is of the kind {kind}, expected 1 (PTX) or 2 (machine code)")
        body = start + header
        if header < ENTRY_HEADER_BYTES or body + payload > end:
            raise FatbinError(f"the entry at {start:#x} goes beyond its fat binary")
        (architecture,) = struct.unpack_from("<I", elf, start + ARCHITECTURE)
        found.append(Entry(kind, architecture, range(body, body + payload)))
        start = body + payload
    return found


def fat_binaries(elf: bytes) -> list[list[Entry]]:
    """The entries of each fat binary in the file."""
    where, found = section(elf, SECTION), []
    start = where.start
    while start < where.stop:
        if start + FATBIN_HEADER.size > where.stop:
            if any(elf[start : where.stop]):
                raise FatbinError(f"the fat binary at {start:#x} goes beyond the section")
            break
        magic, version, header, body = FATBIN_HEADER.unpack_from(elf, start)
        if magic == 0:
            # Between two of them there may be zeros.
            start += FATBIN_ALIGNMENT
            continue
        if magic != FATBIN_MAGIC or version != FATBIN_VERSION:
            raise FatbinError(
                f"at {start:#x} lies no fat binary of version {FATBIN_VERSION}, but {magic:#x}, {version}"
            )
        end = start + header + body
        if header < FATBIN_HEADER.size or end > where.stop:
            raise FatbinError(f"the fat binary at {start:#x} goes beyond the section")
        found.append(entries(elf, start + header, end))
        start = end
    return found


def kept(of_binary: list[Entry], architecture: int) -> list[Entry]:
    """The entries that the architecture runs: its own machine code, or else the best of the other code."""
    usable = [entry for entry in of_binary if entry.runs_on(architecture)]
    if not usable:
        return []
    # Machine code before PTX, and the latest of it.
    best = max((entry.kind == CUBIN, entry.architecture) for entry in usable)
    return [entry for entry in usable if (entry.kind == CUBIN, entry.architecture) == best]


def prune(elf: bytes, architecture: int, is_needless=lambda payload: False) -> tuple[bytearray, Counter, int]:
    """The file without the code of other architectures, bytes by kind and architecture that it had, and bytes that are
    kept. Of what is for the architecture, what `is_needless` says so of goes, too."""
    pruned, sizes, own, left = bytearray(elf), Counter(), 0, 0
    for of_binary in fat_binaries(elf):
        keep = kept(of_binary, architecture)
        own += any(entry.architecture == architecture for entry in keep)
        for entry in of_binary:
            start, end = entry.payload.start, entry.payload.stop
            sizes[KINDS[entry.kind], entry.architecture] += end - start
            if entry in keep and not is_needless(elf[start:end]):
                left += end - start
            else:
                pruned[start:end] = bytes(end - start)
    if not own:
        there = ", ".join(map(str, sorted({architecture for _, architecture in sizes})))
        raise FatbinError(f"there is no code for the architecture {architecture}, only for {there or 'none'}")
    return pruned, sizes, left


def main():
    parser = argparse.ArgumentParser(description="Keeps the GPU code of one architecture in a shared object.")
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("pruned", type=pathlib.Path)
    parser.add_argument("architecture", type=int, help="90 for compute capability 9.0")
    args = parser.parse_args()
    try:
        pruned, sizes, _ = prune(args.source.read_bytes(), args.architecture)
    except FatbinError as error:
        sys.exit(f"cuda_fatbin: {args.source}: {error}")
    args.pruned.write_bytes(pruned)
    for (kind, architecture), size in sorted(sizes.items()):
        print(f"{kind} for {architecture}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
