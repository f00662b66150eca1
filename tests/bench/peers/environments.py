"""An environment of its own for each peer, made once from its pins."""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.peers.catalogue import Peer

LIMIT_S = 900.0  # of one installation


class InstallError(Exception):
    """A peer's environment could not be made; the message is pip's last line."""


def install(peer: Peer, environments: Path) -> Path:
    """Make the peer's environment unless it is there and newer than the pins; give its folder.

    Raises:
        InstallError: pip failed or took too long; its output is in the environment's install.log.

    """
    folder = environments / peer.folder
    stamp = folder / ".stamp"
    if stamp.exists() and stamp.stat().st_mtime >= peer.requirements.stat().st_mtime:
        return folder
    started = time.monotonic()
    print(f"installing {peer.folder} into {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    log = folder / "install.log"
    command = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "-r", str(peer.requirements)]
    try:
        with log.open("wb") as stream:
            subprocess.run(command, check=True, stdout=stream, stderr=stream, timeout=LIMIT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line] or [f"pip took {LIMIT_S:.0f} s"]
        raise InstallError(f"{reason[0]} ({log})") from error
    stamp.write_text(f"{time.monotonic() - started:.0f} s\n")
    return folder
