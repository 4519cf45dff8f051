#!/usr/bin/env python3
"""Packs what scripts/gpu-check.sh needs, for a machine with a GPU and without network or Rust.

    scripts/gpu-pack.py OUT.tar.xz

Builds the programs, fetches ONNX Runtime's build for GPUs (247 MB), keeps its GPU code for one architecture, and says
how large the archive is. CUDA, cuDNN and PyTorch are not packed: they are taken from the Python of that machine.

    tar xf OUT.tar.xz && lfbm-gpu-check/scripts/gpu-check.sh --out OUT
"""

import argparse
import json
import lzma
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import cuda_fatbin
import cuda_kernels

ROOT = pathlib.Path(__file__).resolve().parent.parent
THIRD_PARTY = ROOT / "third_party"
TOP = "lfbm-gpu-check"
PROGRAMS = ["lfbm-server", "lfbm", "trainer", "device-check"]
MODELS = ["mnist-not4", "cloth"]
# Files of the repository that the check reads or runs.
FILES = ["LICENSE", "scripts/gpu-check.sh", "scripts/gpu_check/*.py", "benches/*pytorch*.py", "deploy/samples/*.png"]
SHARED, CUDA = "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"
LIMIT_MIB = 60
LEFT_OUT = {
    "CUDA, cuDNN and PyTorch": "they are taken from the Python of the machine",
    "ONNX Runtime's TensorRT provider": "no Python package of PyTorch brings TensorRT",
    "reports of the models": "nothing reads them",
}
LEFT_OUT_OF_CUDA = {
    "GPU code of other architectures": "the archive is for one GPU",
    "kernels of attention, quantised products and mixtures of experts": "no model here has such operators",
}
GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)")


def fail(message: str):
    sys.exit(f"gpu-pack: {message}")


def run(*command, **options) -> subprocess.CompletedProcess:
    try:
        return subprocess.run([str(word) for word in command], check=True, cwd=ROOT, **options)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(str(error))


def build(libraries: list[str]) -> pathlib.Path:
    run(sys.executable, "scripts/native-libs.py", *libraries, "libtorch")
    run("cargo", "build", "--release", "--locked", "--workspace", "--bins", "--example", "device-check")
    return ROOT / "target" / "release"


def program(binaries: pathlib.Path, name: str) -> pathlib.Path:
    found = [path for path in (binaries / name, binaries / "examples" / name) if path.is_file()]
    return found[0] if found else fail(f"{binaries} has no {name}")


def copy(source: pathlib.Path, target: pathlib.Path):
    if not source.is_file():
        fail(f"{source} is missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def stage_programs(binaries: pathlib.Path, stage: pathlib.Path):
    (stage / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        run("strip", "-o", stage / "bin" / name, program(binaries, name))


def stage_onnxruntime(stage: pathlib.Path, architecture: int | None):
    """The build for GPUs with the code of one architecture; without one, the build for CPUs."""
    library = THIRD_PARTY / ("onnxruntime" if architecture is None else "onnxruntime-gpu")
    for name in ["LICENSE", "ThirdPartyNotices.txt"]:
        copy(library / name, stage / "lib" / f"onnxruntime-{name}")
    copy(library / "lib/libonnxruntime.so", stage / "lib/libonnxruntime.so")
    if architecture is None:
        return
    copy(library / "lib" / SHARED, stage / "lib" / SHARED)
    try:
        elf = (library / "lib" / CUDA).read_bytes()
        pruned, sizes, left = cuda_fatbin.prune(elf, architecture, cuda_kernels.is_needless)
    except cuda_fatbin.FatbinError as error:
        fail(f"{CUDA}: {error}")
    (stage / "lib" / CUDA).write_bytes(pruned)
    own = sum(size for (_, of), size in sizes.items() if of == architecture)
    print(
        f"{CUDA}: {sum(sizes.values()) / 2**20:.0f} MiB of GPU code, {own / 2**20:.0f} for {architecture}, "
        f"{left / 2**20:.0f} kept"
    )


def stage_files(stage: pathlib.Path):
    for pattern in FILES:
        found = sorted(ROOT.glob(pattern)) or fail(f"nothing is called {pattern}")
        for path in found:
            copy(path, stage / path.relative_to(ROOT))
    for model in MODELS:
        manifest = ROOT / "models" / model / "manifest.json"
        for name in [manifest.name, *json.loads(manifest.read_text())["files"]]:
            copy(manifest.with_name(name), stage / "models" / model / name)


def commit() -> str:
    """What is packed, for the page; unknown outside of a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def glibc(stage: pathlib.Path) -> str:
    """The oldest glibc that everything runs with."""
    needed = set()
    for path in [*(stage / "bin").iterdir(), *(stage / "lib").glob("*.so")]:
        symbols = run("objdump", "--dynamic-syms", path, capture_output=True, text=True).stdout
        needed |= {(int(major), int(minor)) for major, minor in GLIBC.findall(symbols)}
    return ".".join(map(str, max(needed)))


def compress(stage: pathlib.Path, out: pathlib.Path, preset: int):
    """The same bytes for the same files, whenever and by whomever."""
    # Machine code compresses better when addresses of calls are made absolute first.
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": preset}]

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    with lzma.open(out, "wb", filters=filters) as compressed, tarfile.open(fileobj=compressed, mode="w|") as archive:
        for path in sorted(stage.rglob("*")):
            archive.add(path, arcname=pathlib.Path(TOP) / path.relative_to(stage), recursive=False, filter=plain)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--architecture", type=int, default=90, help="compute capability 9.0 is 90 (default)")
    parser.add_argument("--without-cuda", action="store_true", help="pack ONNX Runtime's build for CPUs")
    parser.add_argument("--fast", action="store_true", help="compress little, to try the archive")
    parser.add_argument("--bin", type=pathlib.Path, help="pack the programs of this folder and build none")
    args = parser.parse_args()
    architecture = None if args.without_cuda else args.architecture
    onnxruntime = ["onnxruntime"] if args.without_cuda else ["onnxruntime", "onnxruntime-gpu"]
    binaries = args.bin or build(onnxruntime)
    with tempfile.TemporaryDirectory(dir=args.out.absolute().parent) as scratch:
        stage = pathlib.Path(scratch)
        stage_programs(binaries, stage)
        stage_onnxruntime(stage, architecture)
        stage_files(stage)
        (stage / "COMMIT").write_text(commit() + "\n")
        needed = glibc(stage)
        compress(stage, args.out, 0 if args.fast else 9 | lzma.PRESET_EXTREME)
    mib = args.out.stat().st_size / 2**20
    print(f"{args.out}: {mib:.1f} MiB; needs glibc {needed}")
    for what, why in (LEFT_OUT if args.without_cuda else LEFT_OUT | LEFT_OUT_OF_CUDA).items():
        print(f"left out: {what} ({why})")
    if mib > LIMIT_MIB and not args.fast:
        fail(f"{args.out} has {mib:.1f} MiB, more than {LIMIT_MIB}")


if __name__ == "__main__":
    main()
