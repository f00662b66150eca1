"""A machine to rent: a real sshd on loopback, and a checkout of the project that trains on it."""

import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.served import killed_in_the_end

WHOLE_RUN_S = 180.0  # on a busy machine
RUN = "20260102-tiny"


@dataclass(frozen=True)
class Rented:
    """A machine behind sshd, and the conf that leads to it."""

    sshd: subprocess.Popen
    folder: Path  # REMOTE_DIR
    conf: dict[str, str]
    project: Path

    def write_conf(self, path, **changes):
        conf = self.conf | changes
        path.write_text("".join(f"{key}={value}\n" for key, value in conf.items()), encoding="utf-8")
        return path

    def retrain(self, *arguments):
        script = self.project / "deploy" / "cloud" / "retrain.sh"
        done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False, timeout=WHOLE_RUN_S)
        return done.returncode, done.stdout, done.stderr

    @contextmanager
    def retraining(self, conf, log):
        """Start it as a terminal would: a process group of its own, which Ctrl-C reaches."""
        with log.open("wb") as said:
            # what runs in the background, as a CI may, has its children ignore Ctrl-C
            command = ["env", "--default-signal=INT", self.project / "deploy" / "cloud" / "retrain.sh", conf]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        with killed_in_the_end(process):
            yield process

    def state(self, run=RUN):
        return self.folder / "state" / run

    def run(self, run=RUN):
        return Path(f"{self.folder}/files{self.project}/runs/{run}")

    def connections(self):
        return [int(pid) for pid in Path(f"/proc/{self.sshd.pid}/task/{self.sshd.pid}/children").read_text("utf-8").split()]

    def drop_connections(self):
        dropped = self.connections()
        for pid in dropped:
            os.kill(pid, signal.SIGKILL)
        return dropped


def commit_all(project):
    git = ("git", "-C", project, "-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "As it stands"], check=True)


def head(project):
    answer = subprocess.run(["git", "-C", project, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@contextmanager
def trainings_killed_in_the_end(folder):
    """Let no training outlive a test that failed."""
    try:
        yield
    finally:
        for lock in folder.glob("state/*/lock"):
            if subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode:
                os.killpg(int((lock.parent / "pid").read_text("utf-8")), signal.SIGKILL)
