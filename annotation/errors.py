"""What can go wrong while posts are chosen, sent and fetched; each message says what to do about it."""


class AnnotationError(Exception):
    """Anything that a command reports and ends with, without a traceback.

    AnnotationError
     |- SettingsError         an ANNOTATION_* variable that can't be used
     |- TaskError             a post that annotators can't be shown
     |- AnswerError           an annotation that is no answer
     |- LockedError           another command is sending already
     |- WebhookPortError      the receiver can't listen where it should
     `- StudioError           Label Studio, by what has to be done about it:
         |- TokenError        give it a token that it takes
         |- ProjectGoneError  run `init`
         |- RefusedError      it takes no such request: another version, or a proxy
         `- OutageError       wait
             |- UnreachableError   nobody answers
             |- ServerFailedError  it answers 5xx
             `- TooManyError       it asks for fewer requests
    """

    exit_status = 2


class SettingsError(AnnotationError):
    """An ANNOTATION_* variable that can't be used."""


class TaskError(AnnotationError):
    """A post that can't become a task: nothing to see in it, or a confidence that is none."""


class AnswerError(AnnotationError):
    """An annotation without one of our labels, or a task that is none of ours."""


class LockedError(AnnotationError):
    """Another `push` or `sync` is sending."""


class WebhookPortError(AnnotationError):
    """The webhook receiver's address is taken, or not this machine's."""


class StudioError(AnnotationError):
    """Label Studio did not do what it was asked."""


class TokenError(StudioError):
    """Label Studio takes no such token, or its owner may not do this."""


class ProjectGoneError(StudioError):
    """The project is not there (any more)."""


class RefusedError(StudioError):
    """Label Studio answered what was not expected of it."""


class OutageError(StudioError):
    """What passes by itself."""


class UnreachableError(OutageError):
    """Nobody answers at the address, or not in time."""


class ServerFailedError(OutageError):
    """Label Studio answered with a 5xx status."""


class TooManyError(OutageError):
    """Label Studio, or a proxy before it, wants fewer requests (429)."""


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
