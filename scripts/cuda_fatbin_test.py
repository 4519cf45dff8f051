#!/usr/bin/env python3
"""cuda_fatbin.py on small made-up files: what is kept, and what it refuses."""

import struct
import unittest

import cuda_fatbin
import cuda_kernels
from cuda_fatbin import CUBIN, PTX, FatbinError

ENTRY_BYTES = 64


def entry(kind: int, architecture: int, payload: bytes, header: int = ENTRY_BYTES) -> bytes:
    start = cuda_fatbin.ENTRY_HEADER.pack(kind, 0x0101, header, len(payload))
    start = start.ljust(cuda_fatbin.ARCHITECTURE, b"\x07") + struct.pack("<I", architecture)
    return start.ljust(header, b"\x07") + payload


def fat_binary(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return cuda_fatbin.FATBIN_HEADER.pack(cuda_fatbin.FATBIN_MAGIC, 1, 16, len(body)) + body


def elf(code: bytes, name: bytes = b".nv_fatbin") -> bytes:
    """A file with two sections, their names and that code; other bytes are 0xee."""
    names = b"\0.text\0" + name + b"\0"
    code_at = 64 + 16
    names_at = code_at + len(code) + 16
    table_at = names_at + len(names)

    def header(name_at: int, start: int, size: int) -> bytes:
        return struct.pack("<II", name_at, 1).ljust(0x18, b"\0") + struct.pack("<QQ", start, size).ljust(40, b"\0")

    sections = [header(1, 64, 16), header(7, code_at, len(code)), header(0, names_at, len(names))]
    start = b"\x7fELF\x02\x01".ljust(0x28, b"\0") + struct.pack("<Q", table_at)
    start = start.ljust(0x3A, b"\0") + struct.pack("<HHH", 64, len(sections), 2)
    return start.ljust(64, b"\0") + b"\xee" * 16 + code + b"\xee" * 16 + names + b"".join(sections)


class Pruning(unittest.TestCase):
    def pruned(self, *binaries: bytes, architecture: int = 90, **options) -> bytes:
        code = b"".join(binaries)
        file = elf(code)
        out, self.sizes, self.left = cuda_fatbin.prune(file, architecture, **options)
        self.assertEqual(len(out), len(file))
        self.assertEqual(out[:80], file[:80])
        self.assertEqual(out[80 + len(code) :], file[80 + len(code) :])
        return bytes(out[80 : 80 + len(code)])

    def test_other_architectures_become_zeros_and_headers_stay(self):
        code = [entry(CUBIN, 80, b"\xaa" * 24), entry(CUBIN, 90, b"\xbb" * 32), entry(PTX, 90, b"\xcc" * 8)]
        expected = [code[0][:ENTRY_BYTES] + bytes(24), code[1], code[2][:ENTRY_BYTES] + bytes(8)]
        self.assertEqual(self.pruned(fat_binary(*code)), fat_binary(*expected))
        self.assertEqual(self.sizes, {("machine code", 80): 24, ("machine code", 90): 32, ("PTX", 90): 8})
        self.assertEqual(self.left, 32)

    def test_kernels_of_families_that_no_model_needs_go_when_nothing_else_is_with_them(self):
        def cubin(*names: bytes) -> bytes:
            return cuda_kernels.ELF + b"\0" + b"".join(b".text." + name + b"\0" for name in names)

        attention, other = b"_ZN5flash9fwd_splitE", b"_ZN11onnxruntime4cuda7AddImplE"
        for names, goes in [([attention], True), ([attention, other], False), ([other], False), ([], False)]:
            with self.subTest(names=names):
                code = entry(CUBIN, 90, cubin(*names))
                expected = code[:ENTRY_BYTES] + bytes(len(code) - ENTRY_BYTES) if goes else code
                got = self.pruned(fat_binary(code), is_needless=cuda_kernels.is_needless)
                self.assertEqual(got, fat_binary(expected))
        with self.assertRaisesRegex(FatbinError, "neither an ELF file nor compressed by zstd"):
            self.pruned(fat_binary(entry(CUBIN, 90, b"\xaa" * 64)), is_needless=cuda_kernels.is_needless)

    def test_every_fat_binary_is_pruned_and_zeros_between_them_are_skipped(self):
        one = fat_binary(entry(CUBIN, 90, b"\xbb" * 8), entry(CUBIN, 75, b"\xaa" * 8))
        kept = fat_binary(entry(CUBIN, 90, b"\xbb" * 8), entry(CUBIN, 75, bytes(8)))
        self.assertEqual(self.pruned(one, bytes(24), one, bytes(4)), kept + bytes(24) + kept + bytes(4))

    def test_a_kernel_without_own_code_keeps_what_the_architecture_can_run(self):
        own = fat_binary(entry(CUBIN, 90, b"\xdd" * 8))
        for code, kept in [
            # The latest PTX that is not too late.
            ([(PTX, 70), (PTX, 80), (PTX, 100), (CUBIN, 80)], [(PTX, 80)]),
            # Machine code of an earlier minor version is better than PTX, that of another major one is not for it.
            ([(PTX, 86), (CUBIN, 89), (CUBIN, 100)], [(PTX, 86)]),
            # Two entries of one architecture, such as 90 and 90a.
            ([(CUBIN, 90), (CUBIN, 90), (CUBIN, 80)], [(CUBIN, 90), (CUBIN, 90)]),
            ([(CUBIN, 100)], []),
        ]:
            with self.subTest(code=code):
                binary = fat_binary(*(entry(*which, b"\xaa" * 8) for which in code))
                expected = fat_binary(*(entry(*which, (b"\xaa" if which in kept else b"\0") * 8) for which in code))
                self.assertEqual(self.pruned(binary, own), expected + own)
        binary = fat_binary(entry(CUBIN, 80, b"\xaa" * 8), entry(CUBIN, 86, b"\xbb" * 8))
        kept = fat_binary(entry(CUBIN, 80, b"\xaa" * 8), entry(CUBIN, 86, bytes(8)))
        own = fat_binary(entry(CUBIN, 85, b"\xdd" * 8))
        self.assertEqual(self.pruned(binary, own, architecture=85), kept + own)


class Refusals(unittest.TestCase):
    def refused(self, file: bytes, words: str, architecture: int = 90):
        with self.assertRaisesRegex(FatbinError, words):
            cuda_fatbin.prune(file, architecture)

    def test_files_of_another_kind(self):
        self.refused(b"MZ" + bytes(100), "expected a little-endian ELF")
        self.refused(b"\x7fELF\x01\x01" + bytes(100), "expected a little-endian ELF")
        self.refused(b"", "expected a little-endian ELF")
        self.refused(elf(b"", name=b".data"), "no section .nv_fatbin")

    def test_files_that_are_cut(self):
        file = elf(fat_binary(entry(CUBIN, 90, b"\xaa" * 64)))
        self.refused(file[:0x30], "ends too early")
        (table,) = struct.unpack_from("<Q", file, 0x28)
        self.refused(file[: table + 64], "ends too early")
        longer = bytearray(file)
        struct.pack_into("<Q", longer, table + 64 + 0x20, len(file))
        self.refused(bytes(longer), "beyond the end of the file")

    def test_what_is_no_fat_binary(self):
        good = fat_binary(entry(CUBIN, 90, b"\xaa" * 8))
        self.refused(elf(b"\x50\xed\x55\xbb" + good[4:]), "no fat binary of version 1")
        self.refused(elf(good[:4] + b"\x02" + good[5:]), "no fat binary of version 1")
        self.refused(elf(good[:-1]), "goes beyond the section")
        self.refused(elf(good + b"\x01"), "goes beyond the section")
        self.refused(elf(fat_binary(entry(8, 90, b"\xaa" * 8))), "of the kind 8")
        self.refused(elf(fat_binary(entry(CUBIN, 90, b"\xaa" * 8)[:-1])), "beyond its fat binary")
        self.refused(elf(fat_binary(b"\x02\x00\x01\x01")), "beyond its fat binary")
        no_header = cuda_fatbin.ENTRY_HEADER.pack(CUBIN, 0x0101, 0, 16) + bytes(16)
        self.refused(elf(fat_binary(no_header)), "beyond its fat binary")

    def test_an_architecture_without_code_is_named_with_those_that_have_some(self):
        file = elf(fat_binary(entry(CUBIN, 80, b"\xaa" * 8), entry(PTX, 90, b"\xaa" * 8)))
        self.refused(file, "no code for the architecture 100, only for 80, 90", architecture=100)
        self.refused(elf(b""), "only for none")


if __name__ == "__main__":
    unittest.main()
