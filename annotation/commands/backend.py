"""`backend`: our model inside Label Studio."""

import argparse
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from annotation.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

_EPILOG = """In Label Studio: Settings, Model, Connect Model; the URL is http://<this machine>:9090, basic authentication with any user name
and the password of --password-file. Guesses appear when a task is opened; "Start Training" trains with --train.

example
  python -m annotation backend --password-file backend.password --train training/configs/lora.yaml"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    backend = commands.add_parser(
        "backend",
        help="let Label Studio ask the running service, and start trainings",
        description="Serve Label Studio's ML backend protocol in front of the running moderation service.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backend.add_argument("--host", default="127.0.0.1", help="(default: %(default)s)")
    backend.add_argument("--port", type=int, default=9090, help="(default: %(default)s)")
    backend.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password that Label Studio has to give")
    backend.add_argument("--train", type=Path, metavar="CONFIG", help='what "Start Training" trains; without it the button does nothing')
    backend.set_defaults(command=_backend)


def _backend(options: argparse.Namespace) -> int:
    import uvicorn

    from annotation.backend import create_app, trainer
    from annotation.retrain import Retrainer
    from annotation.service import Service
    from annotation.settings import Settings

    settings = Settings.from_environment()
    password = _secret(options.password_file)
    if password is None and not _is_loopback(options.host):
        raise BackendError(f"--host {options.host} lets other machines in: give --password-file FILE too")
    if password is None and options.train:
        raise BackendError("--train lets whoever reaches the port start trainings: give --password-file FILE too")
    train: Callable[[], bool] | None = None
    if options.train:
        retrainer = Retrainer(options.train)
        retrainer.check()
        train = trainer(retrainer, settings.data)
    uvicorn.run(
        create_app(Service(settings.service_url, settings.key(), attempts=1), password, train),  # Label Studio asks again itself
        host=options.host,
        port=options.port,
        access_log=False,
    )
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(f"{path}: can't be read ({error})") from error
    if not secret:
        raise BackendError(f"{path}: is empty, and should hold a secret: openssl rand -hex 32 > {path}")
    return secret
