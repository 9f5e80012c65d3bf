"""Every error of ours, each with the exit code that the command line gives it.

StreamDetectError                70  a fault of ours when nothing below fits
├── UsageError (ValueError)       2  a command, option or configuration that can't be meant
│   ├── ConfigError                  an unknown or impossible key of a configuration file
│   └── OutputError (OSError)        a place that can't be written
├── SourceError (OSError)         3  a source that can't be read
│   ├── SourceNotFound               no such file, path, host or device
│   ├── SourceDenied                 wrong password, no permission
│   ├── SourceTimeout                nothing came in time
│   ├── SourceRefused                nobody listens there
│   └── SourceUnsupported            not a picture or video that we can decode
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


class OutputError(UsageError, OSError):
    """A place that was to be written and can't be."""


class SourceError(StreamDetectError, OSError):
    """A source that can't be read."""

    exit_code = 3


class SourceNotFound(SourceError):
    """No such file, path, host or device."""


class SourceDenied(SourceError):
    """Wrong password or no permission."""


class SourceTimeout(SourceError):
    """Nothing came within the time-out."""


class SourceRefused(SourceError):
    """Nobody listens at that address."""


class SourceUnsupported(SourceError):
    """Bytes that are not a picture or a video that can be decoded here."""


class ReaderGone(Exception):
    """Whoever read our output has closed it (`| head`): a reason to stop, nobody's fault, and so not in the tree."""


class WeightsError(StreamDetectError, OSError):
    """Weights that are missing, damaged or of another kind."""

    exit_code = 4


class DeviceLost(StreamDetectError, RuntimeError):
    """A GPU that was in use and no longer answers: what lies on it is lost."""
