"""Serve: `python -m semantic_service`."""

import argparse
import gc
import logging
import os
import signal
import sys
from functools import partial

import uvicorn

from semantic_service.api.app import App, create_app
from semantic_service.api.middleware import JsonFormatter
from semantic_service.api.reviewing import Archive
from semantic_service.api.security import Keys, KeysError, is_loopback
from semantic_service.api.shared_metrics import shared
from semantic_service.contract.bundle import BundleError
from semantic_service.contract.json_lines import JsonLines
from semantic_service.contract.verdict import PolicyError
from semantic_service.engine.live import Live
from semantic_service.engine.shadow import Challenger
from semantic_service.engine.signature import read_bundle
from semantic_service.engine.workers import Workers
from semantic_service.settings import Settings, SettingsError
from semantic_service.store.address import check_address
from semantic_service.store.errors import StoreError

log = logging.getLogger("semantic_service")

SWITCH_S = (
    0.0002  # a judging thread that is ready for the model waits so long for the interpreter's lock, not Python's 5 ms with a core idle
)
YOUNG = 20_000  # objects before the collector goes through them: at Python's 700, requests in flight were gone through again and again
GRACE_S = 30  # for requests in flight when the process is told to stop

_EPILOG = """settings are environment variables, deploy/env.example lists them; for example
  MODERATION_PORT=9000 MODERATION_MODEL=models/20261122 python -m semantic_service
then
  curl -s localhost:9000/classify -H 'content-type: application/json' -d '{"text": "今天天气真好"}'"""


def main() -> int:
    """Load the model, then open the socket; 2 if the settings or the model can't be used."""
    parser = argparse.ArgumentParser(
        prog="python -m semantic_service", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    try:
        settings = Settings.from_environment()
        app = build()
    except (SettingsError, KeysError, BundleError, PolicyError, StoreError) as error:
        print(f"can't start: {error}", file=sys.stderr)
        return 2
    host, has_keys = settings.host, bool(app.state.keys.by_digest)
    if not has_keys and not is_loopback(host):
        log.warning("no API keys are configured, so only this machine is served: set MODERATION_KEYS to listen on %s", host)
        host = "127.0.0.1"
    log.info("serving", extra={"url": f"http://{host}:{settings.port}", "model_version": app.state.service.live.moderator.model_version})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again once every request has been answered
    serve = partial(
        uvicorn.run,
        host=host,
        port=settings.port,
        access_log=False,
        log_config=None,
        proxy_headers=False,  # no answer depends on them
        server_header=False,  # nobody needs it, and each header takes its time
        timeout_graceful_shutdown=GRACE_S,
    )
    if settings.workers == 1:
        serve(app)
        return 0
    del app  # it could be built, which is all that this process needs: each worker process loads a model of its own
    gc.unfreeze()
    gc.collect()
    with shared():
        serve("semantic_service.__main__:build", factory=True, workers=settings.workers)
    return 0


def build() -> App:
    """Build the app of one process from the environment.

    Raises:
        SettingsError, KeysError, BundleError, PolicyError, StoreError: what the environment names can't be used.

    """
    settings = Settings.from_environment()
    _log_as_json(settings.log_level)
    archive = None
    if settings.database_url:
        check_address(settings.database_url)  # a database that is away stops nothing, one that can't be is a mistake
        archive = Archive(settings.database_url, settings.spill_file, settings.audit_share)
    source = settings.source()
    live = Live(source, settings.policy, settings.uncertain_max)
    challenger = None
    if settings.shadow_model is not None:
        bundle = read_bundle(settings.shadow_model, source.signed_by)
        challenger = Challenger.load(bundle, settings.shadow_share, JsonLines(settings.shadow_file))
    workers = Workers(settings.threads, settings.queue, settings.queue_ms / 1000)
    app = create_app(live, workers, Keys.read(settings.keys), challenger, archive, remembered=settings.cache_size)
    _tune_interpreter()
    return app


def _tune_interpreter() -> None:
    gc.collect()
    gc.freeze()  # to go through what stays for ever takes 20 to 80 ms, and every thread waits for it
    gc.set_threshold(YOUNG)
    sys.setswitchinterval(SWITCH_S)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # noqa: TID251 - tokenizers reads it there; the judging threads have the cores


def _log_as_json(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
