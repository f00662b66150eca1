"""Posts that say different things: selection takes one of those that say nearly the same."""

import random


def posts(count, first=0):
    """Give posts, the same for the same numbers."""
    return [_post(random.Random(number)) for number in range(first, first + count)]


def _post(chance):
    return "".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(20))
