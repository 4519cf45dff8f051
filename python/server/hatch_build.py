"""Puts the programs, ONNX Runtime, the shipped models and the licences into the wheel of `lfbm-server`.

`LFBM_BINARIES` names the folder of the programs, by default target/release. Files go below the prefix of the Python
environment as `make install` puts them below its own: `bin/`, and `lib/lfbm/`, where the server looks for ONNX Runtime.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ["lfbm-server", "lfbm"]
MODELS = ["cloth", "mnist-not4"]


class AddPrograms(BuildHookInterface):  # type: ignore[type-arg]
    """Decides which files the wheel holds, and for which machines it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        repository = Path(self.root).parents[1]
        binaries = Path(os.environ.get("LFBM_BINARIES") or repository / "target" / "release")
        self._scratch = Path(tempfile.mkdtemp(prefix="lfbm-server-"))
        # It holds programs, which work with any Python 3 on this kind of machine. auditwheel then finds out which
        # releases of glibc they need.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        for program in PROGRAMS:
            stripped = self._stripped(_existing(binaries / program, "`make server` builds it"))
            build_data["shared_scripts"][str(stripped)] = program
        licences = self._scratch / "crates.txt"
        subprocess.run([sys.executable, repository / "scripts" / "crate-licences.py", licences], check=True)
        build_data["shared_data"][str(licences)] = "share/doc/lfbm/crates.txt"
        for source, place in _data(repository):
            build_data["shared_data"][str(source)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self._scratch)

    def _stripped(self, program: Path) -> Path:
        """A copy without symbols, which are half of a program."""
        copy = self._scratch / program.name
        subprocess.run(["strip", "-o", copy, program], check=True)
        return copy


def _data(repository: Path) -> list[tuple[Path, str]]:
    """Files, and where they go below the prefix."""
    onnxruntime = repository / "third_party" / "onnxruntime"
    advice = "`make onnxruntime` fetches it"
    files = [(_existing(onnxruntime / "lib" / "libonnxruntime.so", advice), "lib/lfbm/libonnxruntime.so")]
    for name in ["LICENSE", "ThirdPartyNotices.txt"]:
        files.append((_existing(onnxruntime / name, advice), f"share/doc/lfbm/onnxruntime/{name}"))
    for model in MODELS:
        # Other files beside these, such as reports, are for people who read the repository.
        manifest = repository / "models" / model / "manifest.json"
        for name in [manifest.name, *json.loads(manifest.read_text())["files"]]:
            files.append((manifest.with_name(name), f"share/lfbm/models/{model}/{name}"))
    return files


def _existing(path: Path, advice: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"expected {path}; {advice}")
    return path
