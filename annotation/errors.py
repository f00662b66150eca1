"""What can go wrong while posts are chosen, sent and fetched; each message says what to do about it."""


class AnnotationError(Exception):
    """Anything that a command reports and ends with, without a traceback."""

    exit_status = 2


class LabelsError(AnnotationError):
    """A file of labels that can't be read, or a line of one (file:line: reason)."""


class RetrainingError(AnnotationError):
    """A retraining that can't be started, or carried on."""


class ServiceError(AnnotationError):
    """The moderation service does not answer, or refuses to."""


class PoolError(AnnotationError):
    """A source of posts that can't be read."""


class SimulationError(AnnotationError):
    """A simulation that can't be run as its config says."""
