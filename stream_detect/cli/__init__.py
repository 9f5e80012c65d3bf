"""The command line: parse, build, run, one line for a known error, an exit code."""

from stream_detect.cli.app import main

__all__ = ["main"]
