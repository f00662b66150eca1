"""What can go wrong while posts are chosen, sent and fetched; each message says what to do about it."""


class AnnotationError(Exception):
    """Anything that a command reports and ends with, without a traceback."""

    exit_status = 2
