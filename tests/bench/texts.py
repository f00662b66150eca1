"""Posts to measure with: varied, no two alike, the same in every run."""

import csv
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from semantic_service.contract.text import normalise

PROJECT = Path(__file__).parents[2]
POSTS = PROJECT / "data/annotations/validation.jsonl"
FLOOD_SHARE = 0.9  # of a spam flood says one of
FLOOD_TEXTS = 50  # things


def read(path: Path) -> list[str]:
    """Read posts, normalised: from a JSONL file their `text`, from a TSV dump their `content` or `text`."""
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".tsv":
            rows = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            texts = [row.get("content") or row.get("text") or "" for row in rows]
        else:
            texts = [json.loads(line)["text"] for line in stream]
    return [text for text in (normalise(text).text for text in texts) if text]


def take(posts: list[str], count: int, seed: int) -> list[str]:
    """Make `count` different texts, each the first half of one post and the second half of another: lengths stay as they are."""
    return list(islice(_distinct(posts, random.Random(seed)), count))


def _distinct(posts: list[str], chance: random.Random) -> Iterator[str]:
    seen = set()
    while True:
        first, second = chance.choice(posts), chance.choice(posts)
        text = first[: len(first) // 2] + second[len(second) // 2 :]
        if text.strip() and text not in seen:
            seen.add(text)
            yield text


def flood(texts: list[str], seed: int) -> list[str]:
    """Put the first 50 texts in the place of nine in ten of the others, as a spam flood does."""
    chance = random.Random(seed)
    spam = texts[:FLOOD_TEXTS]
    return [chance.choice(spam) if chance.random() < FLOOD_SHARE else text for text in texts]
