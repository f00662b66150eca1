"""Something that dies in the middle of a batch."""


class KillsAfter:
    """A pool; something is killed when so many parts have been sent to it."""

    def __init__(self, pool, parts, kill):
        self._pool = pool
        self._left = parts
        self._kill = kill

    def __getattr__(self, name):
        return getattr(self._pool, name)

    @property
    def has_killed(self):
        return self._left <= 0

    def submit(self, layout, part):
        self._left -= 1
        if not self._left:
            self._kill()
        return self._pool.submit(layout, part)
