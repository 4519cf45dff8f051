"""The machine: what it is, and where the libraries of CUDA and PyTorch lie, which are packages of this Python."""

import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import subprocess

# What nvidia-smi tells, and what the document calls it.
GPU_FIELDS = {
    "name": "gpu",
    "driver_version": "driver_version",
    "compute_cap": "compute_capability",
    "memory.total": "gpu_memory_mib",
}
PACKAGES = ["torch", "triton", "nvidia-cuda-runtime", "nvidia-cudnn-cu13", "nvidia-cublas"]
QUERY_LIMIT_S = 20


def package_folders(name: str) -> list[pathlib.Path]:
    """The folders of a package, which is not imported; none when it is not there."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return [pathlib.Path(folder) for folder in found.submodule_search_locations or []] if found else []


def has_torch() -> bool:
    return bool(package_folders("torch"))


def cuda_libraries() -> list[pathlib.Path]:
    """Folders of CUDA, cuDNN and the like, of the wheels nvidia-*."""
    return sorted({library.parent for folder in package_folders("nvidia") for library in folder.glob("*/lib/*.so*")})


def torch_libraries() -> list[pathlib.Path]:
    """The folder of libtorch."""
    return [folder / "lib" for folder in package_folders("torch") if (folder / "lib").is_dir()]


def environment(folders: list[pathlib.Path]) -> dict[str, str]:
    """This process' environment, with these folders in front of LD_LIBRARY_PATH."""
    before = os.environ.get("LD_LIBRARY_PATH")
    path = os.pathsep.join([*map(str, folders), *([before] if before else [])])
    return {**os.environ, **({"LD_LIBRARY_PATH": path} if path else {})}


def gpu(number: int) -> dict:
    """What nvidia-smi tells of a GPU; `gpu_error` when it tells nothing."""
    command = ["nvidia-smi", f"--id={number}", "--format=csv,noheader,nounits", "--query-gpu=" + ",".join(GPU_FIELDS)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_LIMIT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"gpu_error": f"nvidia-smi: {error}"}
    return dict(zip(GPU_FIELDS.values(), (value.strip() for value in told.splitlines()[0].split(",")))) if told else {}


def cpu_name() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(root: pathlib.Path) -> str | None:
    """What gpu-pack.py wrote down; null in a checkout."""
    file = root / "COMMIT"
    return file.read_text().strip() if file.is_file() else None


def describe(device: str, root: pathlib.Path) -> dict:
    """The document's `machine`; versions are null of packages that are not there."""
    kind, _, number = device.partition(":")
    return {
        "lfbm_commit": commit(root),
        **(gpu(int(number or 0)) if kind == "cuda" else {}),
        "cpu": cpu_name(),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "python_version": platform.python_version(),
        "package_versions": {package: version(package) for package in PACKAGES},
    }
