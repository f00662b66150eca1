"""The review store from the shell: `python -m semantic_service.store COMMAND`."""

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from semantic_service.settings import Settings, SettingsError
from semantic_service.store.errors import StoreError
from semantic_service.store.spill import Spill
from semantic_service.store.store import Store

_EPILOG = """The database is the service's, MODERATION_DATABASE_URL (default: sqlite:///var/moderation.db).

examples
  python -m semantic_service.store status
  python -m semantic_service.store delete                       # older than MODERATION_RETENTION_DAYS (default: 180)
  python -m semantic_service.store delete --older-than 30d
  MODERATION_DATABASE_URL=postgresql://moderation:secret@db/moderation python -m semantic_service.store delete

every night, by cron
  10 4 * * *  cd /srv/moderation && .venv/serve/bin/python -m semantic_service.store delete

exit status: 0 done, 2 wrong use, or the database can't be reached"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give its exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environment()
        store = Store.open(settings.database_url)
        options.command(store, settings, options)
        store.close()
    except (SettingsError, StoreError) as error:
        print(f"store: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m semantic_service.store",
        description="Look at the review store, and delete what is older than its time.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("status", help="count what is there").set_defaults(command=_status)
    deleting = commands.add_parser("delete", help="delete old reviews, feedback and answers, and with them every text")
    deleting.add_argument("--older-than", type=_days, metavar="DAYSd", help="such as 180d (default: MODERATION_RETENTION_DAYS)")
    deleting.set_defaults(command=_delete)
    return parser


def _days(value: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,5})d", value, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{value!r} is no number of days, such as 180d")
    return int(match.group(1))


def _status(store: Store, settings: Settings, _: argparse.Namespace) -> None:
    for name, count in store.counts().items():
        print(f"{name:<10} {count:>12,}")
    if waiting := Spill(settings.spill_file).size_bytes:
        print(f"{waiting:,} bytes wait in {settings.spill_file} for a running service to move them in")


def _delete(store: Store, settings: Settings, options: argparse.Namespace) -> None:
    moment = datetime.now(UTC) - timedelta(days=options.older_than or settings.retention_days)
    deleted = store.delete_before(moment.isoformat(timespec="microseconds"))
    print(f"{deleted:,} rows deleted that were older than {moment:%Y-%m-%d %H:%M} UTC; left:")
    _status(store, settings, options)


if __name__ == "__main__":
    sys.exit(main())
