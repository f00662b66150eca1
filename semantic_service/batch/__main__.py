"""Score dumps: each input row comes out with its verdict; order kept, constant memory, resumable after a kill."""

import argparse
import sys
from contextlib import closing

from semantic_service.batch.errors import BatchError
from semantic_service.batch.job import Job, Reading
from semantic_service.batch.on_ray import OnRay
from semantic_service.batch.places import shards
from semantic_service.batch.pools import Pool, Processes, Threads
from semantic_service.batch.scoring import Recipe
from semantic_service.batch.tsv import Dialect
from semantic_service.contract.bundle import BundleError
from semantic_service.contract.verdict import PolicyError
from semantic_service.settings import Settings, SettingsError

INTERRUPTED = 130  # as shells have it for Ctrl-C

_EPILOG = """examples
  python -m semantic_service.batch dump.tsv scored.tsv --text-column content
  python -m semantic_service.batch dump.tsv scored.tsv --text-column content --resume     # go on after a kill; safe to give always
  python -m semantic_service.batch export.tsv scored.tsv --encoding gb18030 --mysql       # from mysql --batch or SELECT ... INTO OUTFILE
  python -m semantic_service.batch 'posts/2026-*/*.parquet' scored/ --workers 8 --resume  # one output for each input, done ones never again
  python -m semantic_service.batch 's3://forum/posts/*.jsonl' s3://forum/scored/ --engine ray --address auto

TSV gets columns behind its own, JSONL and Parquet fields; one of theirs with the same name is renamed (label: input_label).
URLs need requirements/batch.txt. s3:// reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a store that is not Amazon's,
AWS_ENDPOINT_URL; oss:// reads FSSPEC_OSS_KEY, FSSPEC_OSS_SECRET and OSS_ENDPOINT, such as https://oss-cn-hangzhou.aliyuncs.com.
The machines of a Ray cluster need this package, its requirements and the model at the same path; inputs and outputs only this one needs.

exit status: 0 every row judged, 1 some rows carry an error, 2 wrong use, 130 stopped by Ctrl-C"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; give its exit status."""
    options = _options(arguments)
    try:
        settings = Settings.from_environment()
        planned = shards(options.inputs, options.output)
        reading = Reading(Dialect(options.text_column, options.encoding, options.mysql), options.format)
        job = Job(planned, reading, Recipe.read(settings))
        with closing(_pool(options, job.recipe, settings.threads)) as pool:
            totals = job.run(pool, resume=options.resume)
    except (BatchError, SettingsError, BundleError, PolicyError) as error:
        print(f"batch: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"batch: {error.filename}: {error.strerror}" if error.filename else f"batch: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    print(f"{totals.rows:,} rows, {totals.errors:,} with an error: {options.output}", file=sys.stderr)
    return 1 if totals.errors else 0


def _pool(options: argparse.Namespace, recipe: Recipe, threads: int) -> Pool:
    if options.engine == "ray":
        return OnRay(recipe, options.address)
    return Processes(recipe, options.workers) if options.workers else Threads(recipe.moderator(), threads)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m semantic_service.batch", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="TSV (its first row names the columns), JSONL or Parquet; patterns, URLs")
    parser.add_argument("output", metavar="OUT", help="a file, written as OUT.partial until it is complete; for several inputs a folder")
    parser.add_argument("--text-column", default="text", help="the column that holds the post (default: %(default)s)")
    parser.add_argument("--format", choices=("tsv", "jsonl", "parquet"), help="of inputs and outputs (default: by the name, else tsv)")
    parser.add_argument(
        "--encoding", choices=("utf-8", "gb18030"), default="utf-8", help="of the input; the output has the same (default: %(default)s)"
    )
    parser.add_argument("--mysql", action="store_true", help=r"understand MySQL's escapes \t \n \\ and \N in the text")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run of the same command was stopped")
    parser.add_argument("--workers", type=_positive, metavar="N", help="N processes with a model each, instead of threads with one")
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="judge here, or on a Ray cluster (default: %(default)s)"
    )
    parser.add_argument("--address", help="of the Ray cluster (default: $RAY_ADDRESS, else a cluster of this machine alone)")
    options = parser.parse_args(arguments)
    if options.engine == "ray" and options.workers:
        parser.error("--workers is for --engine local: on Ray every CPU of the cluster works")
    if options.engine == "local" and options.address:
        parser.error("--address is for --engine ray")
    return options


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
