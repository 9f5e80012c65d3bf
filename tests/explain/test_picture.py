"""The picture of an explanation: of every kind of judgement, with its words, and nothing that it should not tell."""

import sys

import pytest
from PIL import Image

from stream_detect.errors import OutputError, UsageError
from stream_detect.explain.picture import make_figure, map_words, shortened, verdict_words
from tests.explain import made


def words_in(figure) -> str:
    """Every text of a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


CASES = {
    "still": made.explanation,
    "one map": lambda: made.explanation(sight=made.sight(1)),
    "no map": lambda: made.explanation(sight=made.sight(0)),
    "clip": made.clip,
    "no face": made.nothing_found,
    "nothing seen": lambda: made.nothing_found(),
    "small face": lambda: made.explanation(
        score=made.score(fake_probability=None, verdict="inconclusive", reasons=("small_face",), experts={}),
        sight=made.sight(0, llr=None, verdict="inconclusive", reasons=("small_face",)),
    ),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_every_picture_is_1400_pixels_wide(make, tmp_path):
    with Image.open(make().save(tmp_path / "a.png")) as picture:
        assert picture.width == 1400
        assert 600 < picture.height < 1400


def test_a_still_says_what_each_panel_shows():
    words = words_in(make_figure(made.explanation()))
    assert "portrait.jpg" in words
    assert "FAKE: probability of a forgery 0.88" in words
    assert "weights abcdef012345" in words
    for title in ("The face", "Where it looks", "Pasted in?", "Altered in part?", "Fine detail and noise", "Spectrum"):
        assert title in words
    assert "silent" in words  # the expert that said nothing
    assert "0.97" in words


def test_neither_the_picture_nor_its_text_tells_the_folder(tmp_path):
    path = made.explanation().save(tmp_path / "a.png")
    assert "secret-folder" not in words_in(make_figure(made.explanation()))
    with Image.open(path) as picture:
        assert "secret-folder" not in str(picture.info)


def test_a_clip_says_when_and_of_which_kinds():
    words = words_in(make_figure(made.clip()))
    assert "at 1.50 s, where it looks" in words.replace("\n", " ")
    assert "24 of 75 frames judged" in words
    assert "suspected: blended 0.81, partial 0.20" in words
    assert "Over time" in words
    assert "other faces" in words


def test_a_picture_without_a_face_says_so():
    words = words_in(make_figure(made.nothing_found()))
    assert "INCONCLUSIVE: no face was found" in words
    assert "What each expert says" not in words


def test_weights_without_a_band_say_so():
    from dataclasses import replace

    sight = made.sight()
    bare = replace(sight, spectrum=replace(sight.spectrum, real_db=None, real_sd_db=None))
    assert "no band of real faces" in words_in(make_figure(made.explanation(sight=bare)))


def test_the_verdict_in_words():
    assert verdict_words(made.score(verdict="real", fake_probability=0.02)) == "REAL: probability of a forgery 0.02"
    unsure = made.score(verdict="inconclusive", fake_probability=0.6, reasons=("disagreement",))
    assert verdict_words(unsure).endswith("0.60, between the limits of real and fake")


def test_a_map_of_attention_is_not_taken_for_one_of_forgery():
    for one in made.maps():
        assert ("not a map of what is forged" in map_words(one, {})[1]) != one.is_forgery
        assert ("it tells where, not whether" in map_words(one, {})[1]) == one.is_forgery


def test_a_map_of_a_kind_tells_how_likely_that_kind_is():
    _, blended, _ = made.maps()
    assert map_words(blended, {"blended": 0.456})[0] == "Pasted in? probability 0.46"
    assert map_words(blended, {})[0] == "Pasted in?"


def test_odd_and_long_names_stay_on_one_line():
    assert shortened("a\nb$c$.png") == r"a?b\$c\$.png"
    assert len(shortened("x" * 300)) < 100


def test_names_with_markup_are_drawn_as_they_are(tmp_path):
    made.explanation(score=made.score(path=r"$\frac{1}{$_x^.jpg")).save(tmp_path / "a.png")


def test_a_folder_that_is_not_there_fails(tmp_path):
    with pytest.raises(OutputError, match="choose another"):
        made.nothing_found().save(tmp_path / "none" / "a.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"stream-detect\[explain\]"):
        made.nothing_found().save(tmp_path / "a.png")
