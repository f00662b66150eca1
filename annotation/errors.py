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


class InterfaceError(AnnotationError):
    """A labelling interface that can't be read, or has no place for our labels."""


class BackendError(AnnotationError):
    """An ML backend that must not start as asked: strangers could use it, or a secret can't be read."""
