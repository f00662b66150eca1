"""The rows' names, shared by who measures and who reads."""

START = "start-up"
MEMORY = "memory of a worker, under load"
BATCH_FILE = "batch over a TSV dump"
BESIDE_BATCHES = "arrival at 50 % beside batches of 256 in a loop"
FLOOD = "spam flood (90 % the same 50 texts), cache on, concurrency 32"


def engine(threads: int, at_once: int = 1) -> str:
    """Name the bare engine's row."""
    return f"bare engine, {threads} thread{'s' * (threads > 1)}" + f", {at_once} texts at once" * (at_once > 1)


def engine_at(tokens: int, threads: int, at_once: int) -> str:
    """Name the bare engine's row for texts of up to so many tokens."""
    return f"{engine(threads, at_once)}, up to {tokens} tokens each"


def http(concurrency: int) -> str:
    """Name the row of so many clients, each waiting for its answer."""
    return f"HTTP, concurrency {concurrency}"


def arrival(percent: int) -> str:
    """Name the row of requests that arrive at random moments, at so much of the capacity."""
    return f"arrival at {percent} % of capacity"
