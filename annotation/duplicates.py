"""Find posts that say the same thing in nearly the same words, so that people are asked about a flood of spam once."""

from collections.abc import Sequence
from zlib import crc32

from datasketch import MinHash, MinHashLSH

from semantic_service.contract.text import normalise

SIMILARITY = 0.6  # of the sets of shingles; one letter in 20 changed leaves 0.7
SHINGLE_CHARS = 3
_PERMUTATIONS = 64

Shingles = frozenset[bytes]


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """Give for each text the index of the first text that it is nearly the same as; its own, if that is none.

    Two texts are nearly the same if at least `SIMILARITY` of all their shingles are common to both (Jaccard). Candidates are found
    by MinHash (Broder 1997) with banding (Indyk and Motwani 1998), so a pair just above the bound may be missed.
    """
    empty = MinHash(_PERMUTATIONS, hashfunc=crc32)
    index = MinHashLSH(threshold=SIMILARITY, num_perm=_PERMUTATIONS)
    leaders: dict[int, Shingles] = {}
    leader_of: dict[Shingles, int] = {}
    found = []
    for number, text in enumerate(texts):
        own = shingles(text)
        if own not in leader_of:
            sketch = empty.copy()  # the permutations are drawn once
            sketch.update_batch(own)
            leader = _most_similar(own, {near: leaders[near] for near in index.query(sketch)})
            if leader is None:
                index.insert(number, sketch)
                leaders[number], leader = own, number
            leader_of[own] = leader
        found.append(leader_of[own])
    return found


def shingles(text: str) -> Shingles:
    """Give every run of `SHINGLE_CHARS` letters of the normalised text, in UTF-8.

    Spammers vary digits, punctuation and emoji, so these do not count, unless a text has nothing else.
    """
    normal = normalise(text).text
    letters = "".join(filter(str.isalpha, normal)) or normal
    return frozenset(letters[start : start + SHINGLE_CHARS].encode() for start in range(max(1, len(letters) - SHINGLE_CHARS + 1)))


def _most_similar(own: Shingles, others: dict[int, Shingles]) -> int | None:
    similarity = {number: len(own & other) / len(own | other) for number, other in others.items()}
    near = [number for number in sorted(others) if similarity[number] >= SIMILARITY]
    return max(near, key=similarity.__getitem__, default=None)
