"""`watch --overlay` and `--view`: a video, a window, and clear words where there can't be one."""

import av
import pytest

from tests.cli.program import no_traceback, run
from tests.servers import virtual_display


def test_an_overlay_has_every_frame(face_clip, weights_folder, tmp_path):
    out = tmp_path / "out.mp4"
    done = run("watch", face_clip, "--overlay", out, "--weights", weights_folder)
    assert done.returncode == 0, done.stderr
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["synthetic", "--overlay", "no/folder/out.mp4"], "can't be written as a video"),
        (["synthetic", "webcam", "--overlay", "out.mp4"], "--overlay writes one source"),
        (["synthetic", "--view"], "no display"),
    ],
)
def test_wrong_use_gets_one_line(arguments, words, weights_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    done = run("watch", *arguments, "--weights", weights_folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert words in done.stderr


@pytest.mark.services
def test_a_window_is_shown(face_clip, weights_folder):
    with virtual_display() as display:
        done = run("watch", face_clip, "--view", "--weights", weights_folder, DISPLAY=display)
    assert done.returncode == 0, done.stderr
    assert "10 frames, 10 analysed" in done.stdout
    assert no_traceback(done.stderr)


def test_a_display_that_is_not_there_gets_a_clear_word(face_clip, weights_folder):
    done = run("watch", face_clip, "--view", "--weights", weights_folder, DISPLAY=":97")
    assert done.returncode == 2
    assert "no window could be shown" in done.stderr
    assert no_traceback(done.stderr)
