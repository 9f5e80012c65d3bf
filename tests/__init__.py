"""The tests mirror stream_detect/ and make their own media."""
