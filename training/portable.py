"""Try a bundle on an older processor, emulated: integer arithmetic differs between processors, and a self-check would refuse to start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from training.errors import ConfigError, PortabilityError

EMULATOR = "qemu-x86_64"
PROCESSOR = "Haswell"  # AVX2, neither VNNI nor AVX-512: what servers have had since 2014
_LOAD = """
import pathlib, sys
from semantic_service.contract.bundle import Bundle
from semantic_service.engine.classifier import OnnxClassifier
OnnxClassifier.load(Bundle.read(pathlib.Path(sys.argv[1])))
"""


def check_portable(bundle: Path) -> None:
    """Load a bundle, with its self-check, in a Python process on an emulated processor without VNNI.

    Raises:
        ConfigError: there is no emulator here.
        PortabilityError: the bundle is refused there.

    """
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        raise ConfigError(f"{EMULATOR} is not installed: on Debian or Ubuntu, apt-get install qemu-user")
    command = [emulator, "-cpu", PROCESSOR, str(Path(sys.executable).resolve()), "-c", _LOAD, str(bundle)]
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), *sys.path]))}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = [line for line in answer.stderr.splitlines() if line and not line.startswith(EMULATOR)] or [
            f"exit status {answer.returncode}"
        ]
        raise PortabilityError(f"{bundle}: refused on {PROCESSOR}: {said[-1]}")
