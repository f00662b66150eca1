"""`init`: make the project on Label Studio, or find it."""

import argparse

from annotation.commands.options import Commands, declare

_EPILOG = """example
  ANNOTATION_URL=http://127.0.0.1:8080 ANNOTATION_TOKEN=... python -m annotation init

Copy the token from Label Studio's page /user/account, the legacy one or a personal access token. Given again, the command changes nothing
but the labelling interface, if this version has another one: the project's settings stay as somebody may have set them since."""

_BACKEND = """to have our model's guess filled in, connect it in Label Studio: Settings > Model > Connect Model, with the address of
`python -m annotation backend`, then Settings > Annotation > Use predictions to prelabel tasks"""


def add(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    init = declare(commands, "init", "Make the project on Label Studio, or find it and bring it up to date.", _EPILOG)
    init.set_defaults(command=_init)


def _init(_: argparse.Namespace) -> int:
    from annotation.settings import Settings
    from annotation.studio import Studio

    settings = Settings.from_environment()
    with Studio.init(settings) as studio:
        if settings.webhook_url is not None:
            assert settings.webhook_secret is not None  # the settings see to that
            studio.connect_webhook(settings.webhook_url, settings.webhook_secret.get_secret_value())
            print(f"webhook: {settings.webhook_url}")
        else:
            print("no webhook: `sync` looks at intervals; with ANNOTATION_WEBHOOK_URL and ANNOTATION_WEBHOOK_SECRET answers arrive at once")
    print(_BACKEND)
    print(f"project: {studio.page}")
    return 0
