"""Generates the messages of `proto/` while a wheel is built.

They are generated here and not kept in the repository: they cannot differ from `proto/` then, and the protoc that
makes them is pinned in pyproject.toml. Users of the wheel need no protoc.
"""

import importlib.resources
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MESSAGES = "lfbm/v1/anomaly_detector"


class GenerateMessages(BuildHookInterface):  # type: ignore[type-arg]
    """Puts `lfbm/v1/anomaly_detector_pb2.py` and its types into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # Only what builds a wheel has grpcio-tools.
        from grpc_tools import protoc

        # An editable installation imports from the source tree; elsewhere that stays as it is.
        into = Path(self.root, "src") if version == "editable" else Path(tempfile.mkdtemp(prefix="lfbm-"))
        self._scratch = None if version == "editable" else into
        well_known = importlib.resources.files("grpc_tools") / "_proto"
        arguments = [
            "protoc",
            f"-I{self._proto()}",
            f"-I{well_known}",
            f"--python_out={into}",
            f"--pyi_out={into}",
        ]
        if protoc.main([*arguments, f"{MESSAGES}.proto"]) != 0:
            raise RuntimeError(f"protoc could not compile {MESSAGES}.proto; it says why above")
        if self._scratch is not None:
            for ending in ("_pb2.py", "_pb2.pyi"):
                build_data["force_include"][f"{into / MESSAGES}{ending}"] = f"{MESSAGES}{ending}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch)

    def _proto(self) -> Path:
        """The folder of the .proto files: inside an sdist, or beside `python/` in the repository."""
        places = [Path(self.root, "proto"), Path(self.root).parent / "proto"]
        for place in places:
            if (place / f"{MESSAGES}.proto").is_file():
                return place
        raise FileNotFoundError(
            f"expected {MESSAGES}.proto in {places[0]} or {places[1]}; build from a whole clone or an sdist"
        )
