"""The built-in demonstration: a real face that turns into a forged one, watched live over RTSP."""

from stream_detect.demo.clip import DemoClip, make_demo_clip
from stream_detect.demo.run import DemoReport, DemoSettings, make_clip, run_demo

__all__ = ["DemoClip", "DemoReport", "DemoSettings", "make_clip", "make_demo_clip", "run_demo"]
