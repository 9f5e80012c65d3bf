"""Every error of ours, each with the exit code that the command line gives it.

StreamDetectError                70  a fault of ours when nothing below fits
├── UsageError (ValueError)       2  a command, option or configuration that can't be meant
│   ├── ConfigError                  an unknown or impossible key of a configuration file
│   ├── UnknownFeed                  a feed that there is not
│   └── OutputError (OSError)        a place that can't be written
├── SourceError (OSError)         3  a source that can't be read
│   ├── SourceNotFound               no such file, path, host or device
│   ├── SourceDenied                 wrong password, no permission
│   ├── SourceTimeout                nothing came in time
│   ├── SourceRefused                nobody listens there
│   ├── SourceUnsupported            not a picture or video that we can decode
│   ├── SourceEnded                  a live stream that ended
│   └── DecoderDied                  the process that decoded it crashed or hung
├── WeightsError (OSError)        4  weights missing, damaged or of another kind
└── DeviceLost (RuntimeError)    70  a GPU that was in use and no longer answers
"""


class StreamDetectError(Exception):
    """Base of every error that stream-detect raises on purpose."""

    exit_code = 70


class UsageError(StreamDetectError, ValueError):
    """A command, option or argument that can't be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown or impossible key of a configuration."""


class UnknownFeed(UsageError):
    """A feed that there is not, in a file or in a run."""


class OutputError(UsageError, OSError):
    """A place that was to be written and can't be."""


class SourceError(StreamDetectError, OSError):
    """A source that can't be read. `fault` is a short word for counting: which kind of trouble it was."""

    exit_code = 3
    fault = "broken"


class SourceNotFound(SourceError):
    """No such file, path, host or device."""

    fault = "not_found"


class SourceDenied(SourceError):
    """Wrong password or no permission."""

    fault = "denied"


class SourceTimeout(SourceError):
    """Nothing came within the time-out."""

    fault = "silent"


class SourceRefused(SourceError):
    """Nobody listens at that address."""

    fault = "refused"


class SourceUnsupported(SourceError):
    """Bytes that are not a picture or a video that can be decoded here."""

    fault = "unreadable"


class SourceEnded(SourceError):
    """A live stream that ended: live ones are not expected to."""

    fault = "ended"


class DecoderDied(SourceError):
    """The process that decoded a source crashed, hung or was killed; another one takes its place."""

    fault = "decoder"


class ReaderGone(Exception):
    """Whoever read our output has closed it (`| head`): a reason to stop, nobody's fault, and so not in the tree."""


class WeightsError(StreamDetectError, OSError):
    """Weights that are missing, damaged or of another kind."""

    exit_code = 4


class DeviceLost(StreamDetectError, RuntimeError):
    """A GPU that was in use and no longer answers: what lies on it is lost."""
