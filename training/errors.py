"""Everything that stops a run; each message says what to change."""


class TrainingError(Exception):
    """The root; `exit_status` is what a command exits with.

    TrainingError
     |- ConfigError      a config, or an override, that can't be used
     |- DataError        a data file, or a row of one (file:line: reason)
     |- BaseModelError   a base model that isn't there, or is too short
     |- VocabularyError  a vocabulary that can't be shrunk as asked
     |- LossError        a loss that is no number
     |- DiskFullError    no room for what a run writes
     |- InterruptedRunError  a run that was told to stop
     |- SigningError     a key that can't sign, or a bundle that has a signature
     |- ParityError      the exported graph does not compute what torch did
     |- PortabilityError  a bundle that an older processor would refuse
     |- HubError         a repository that can't be written to
     `- GateError        a challenger that must not become the champion
    """

    exit_status = 2


class ConfigError(TrainingError):
    """A config that can't be used: the file, the key, what would be accepted."""


class DataError(TrainingError):
    """A data file, or a row of one, that can't be used: file, line, reason."""


class BaseModelError(TrainingError):
    """A base model that can't be loaded, or has fewer positions than the config wants."""


class VocabularyError(TrainingError):
    """A tokenizer whose vocabulary can't be shrunk as the config asks."""


class LossError(TrainingError):
    """The loss became NaN; the message says what to lower."""

    exit_status = 1


class DiskFullError(TrainingError):
    """The disk has no room for what a run writes; what it wrote before stays."""

    exit_status = 1


class InterruptedRunError(TrainingError):
    """The run was told to stop, and has saved itself."""

    exit_status = 130  # as a shell says of Ctrl-C


class SigningError(TrainingError):
    """A key that can't sign, or a bundle that is signed already."""


class ParityError(TrainingError):
    """The exported graph and the torch model disagree; nothing is shipped."""

    exit_status = 1


class PortabilityError(TrainingError):
    """The bundle answers otherwise on a processor without VNNI."""

    exit_status = 1


class HubError(TrainingError):
    """A Hugging Face repository that can't be written to: no token, no network, no permission."""


class GateError(TrainingError):
    """The challenger is worse than the gate tolerates; nothing is promoted."""

    exit_status = 1
