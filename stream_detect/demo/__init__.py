"""The built-in demonstration: a real face that turns into a forged one, watched live over RTSP."""
