"""Configuration files: what they give, and how they are refused."""

from pathlib import Path

import pytest

from stream_detect.config import (
    PROFILES,
    DecisionSettings,
    Feed,
    VerdictLimits,
    WatchSettings,
    name_of,
    read_config,
    updated,
)
from stream_detect.errors import ConfigError, SourceNotFound


def config(tmp_path, text):
    path = tmp_path / "watch.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


def test_feeds_and_settings_are_read(tmp_path):
    read = config(
        tmp_path,
        """
        [watch]
        duration_s = 60
        [decision]
        raise_at = 0.95
        [[feed]]
        name = "door"
        url = "rtsp://door/live"
        transport = "udp"
        [[feed]]
        url = "webcam"
        every_frame = true
        """,
    )
    assert read.feeds == (Feed("rtsp://door/live", "door", "udp"), Feed("webcam", every_frame=True))
    assert updated(WatchSettings(), read.watch, "").duration_s == 60
    assert updated(DecisionSettings(), read.decision, "").raise_at == 0.95


def test_every_setting_of_a_feed_is_read(tmp_path):
    read = config(
        tmp_path,
        """
        [[feed]]
        name = "door"
        url = "rtsp://door/live"
        open_timeout_s = 5
        read_timeout_s = 1.5
        isolation = "thread"
        profile = "light"
        experts = ["color", "residual"]
        analyse_hz = 4
        follow_hz = 12.5
        frozen_after_s = 5
        ignore = [[0, 0, 0.25, 1], [0.5, 0.5, 1, 1]]
        [feed.decision]
        raise_at = 0.99
        """,
    )
    assert read.feeds == (
        Feed(
            "rtsp://door/live",
            "door",
            open_timeout_s=5.0,
            read_timeout_s=1.5,
            isolation="thread",
            profile="light",
            experts=("color", "residual"),
            analyse_hz=4.0,
            follow_hz=12.5,
            frozen_after_s=5.0,
            ignore=((0.0, 0.0, 0.25, 1.0), (0.5, 0.5, 1.0, 1.0)),
            decision={"raise_at": 0.99},
        ),
    )


def test_a_feed_is_called_as_its_address_says_unless_it_is_named():
    assert name_of(Feed("rtsp://user:hunter22@door/live?token=x")) == "door/live"
    assert name_of(Feed("rtsp://user:${PASSWORD}@door/live")) == "door/live"
    assert name_of(Feed("gopher://user:hunter22@door/live")) == "door/live"
    assert name_of(Feed("/clips/a.mp4")) == "a.mp4"
    assert name_of(Feed("webcam", "desk")) == "desk"


def test_the_example_is_a_configuration():
    example = read_config(Path(__file__).parents[1] / "examples" / "feeds.toml")
    assert [feed.name for feed in example.feeds] == ["front door", "lobby", "studio"]


def test_an_empty_file_changes_nothing(tmp_path):
    read = config(tmp_path, "")
    assert read.feeds == ()
    assert updated(DecisionSettings(), read.decision, "") == DecisionSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[decision]\nrasie_at = 0.9", r"\[decision\]: unknown key 'rasie_at'; did you mean 'raise_at'\?"),
        ("[decison]", "unknown key 'decison'; did you mean 'decision'"),
        ("zzz = 1", "expected some of decision, evidence, feed, sink, store, watch"),
        ("[watch]\nduration_s = 'long'", "duration_s expects a number, got 'long'"),
        ("[watch]\nretries = true", "retries expects a whole number, got True"),
        ("[watch]\ndetect_every = 0", r"\[watch\]: detect_every must be more than 0, got 0"),
        ("[watch]\nprofile = 'fast'", r"\[watch\]: profile must be full or light, got 'fast'"),
        ("[watch]\nanalyse_hz = 0", "analyse_hz must be more than 0, got 0"),
        ("[decision]\nclear_below = 1.0", r"clear_below must be in \(0, 1\)"),
        ("[decision]\nraise_at = nan", "raise_at must be more than 0"),
        ("[decision]\nfalse_alarms_per_hour = 0", "false_alarms_per_hour must be more than 0"),
        ("[decision]\nrules = ['spikes']", "rules must be some of sustained, spike, feed_swap"),
        ("[[feed]]\nname = 'door'", r"\[\[feed\]\] 1: url is missing"),
        (
            "[[feed]]\nurl = 'a'\n[[feed]]\nurl = 'b'\ntransport = 'http'",
            r"\[\[feed\]\] 2: transport must be tcp or udp",
        ),
        ("[[feed]]\nurl = 'a'\nurll = 'b'", "did you mean 'url'"),
        ("[[feed]]\nurl = 'a'\nexperts = 'color'", r"experts expects a list of texts in quotes, got 'color'"),
        ("[[feed]]\nurl = 'a'\nexperts = []", "experts must be a list of at least one expert"),
        ("[[feed]]\nurl = 'a'\nexperts = [1]", "experts expects a list of texts"),
        ("[[feed]]\nurl = 'a'\nignore = [[0, 0, 1]]", "ignore expects a list of lists of 4 numbers"),
        ("[[feed]]\nurl = 'a'\nignore = [[0.5, 0, 0.2, 1]]", "ignore must be zones of left < right"),
        ("[[feed]]\nurl = 'a'\nignore = [[0, 0, nan, 1]]", "ignore must be zones of left < right"),
        ("[[feed]]\nurl = 'a'\nisolation = 'fork'", "isolation must be process or thread, got 'fork'"),
        ("[[feed]]\nurl = 'a'\nread_timeout_s = inf", "read_timeout_s must be more than 0, got inf"),
        ("[[feed]]\nurl = 'a'\nname = 'rtsp://a:hunter22@b'", r"name must be .* got 'rtsp://\*\*\*@b'"),
        ("[[feed]]\nurl = 'a'\nname = ''", "name must be a short line"),
        ("[[feed]]\nurl = 'a'\ndecision = 3", "decision expects a table"),
        (
            "[[feed]]\nurl = 'a'\n[feed.decision]\nhold = 3",
            r"\[\[feed\]\] 1: decision: unknown key 'hold'; did you mean 'hold_s'",
        ),
        (
            "[decision]\nllr_limit = 1.0\n[[feed]]\nurl = 'a'\ndecision = {drift = 1.5}",
            r"\[feed.decision\]: drift must be within ± llr_limit",
        ),
        ("[[feed]]\nurl = 'a'\nname = 'x'\n[[feed]]\nurl = 'b'\nname = 'x'", r"\[\[feed\]\] 1 is called 'x' too"),
        ("[[feed]]\nurl = 'rtsp://a/b'\n[[feed]]\nurl = 'rtsp://u:p@a/b'", "give it a name of its own"),
        ("[feed]\nurl = 'a'", "two brackets"),
        ("feed = [1]", "expected a table"),
        ("watch = 1", "expected a table"),
        ("not toml", "not a TOML file"),
    ],
)
def test_a_wrong_file_fails_by_name(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, text)


def test_a_missing_file_fails(tmp_path):
    with pytest.raises(SourceNotFound, match="no such configuration file"):
        read_config(tmp_path / "none.toml")


def test_bytes_that_are_no_text_fail(tmp_path):
    path = tmp_path / "watch.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a TOML file"):
        read_config(path)


def test_a_password_in_a_wrong_value_is_hidden(tmp_path):
    with pytest.raises(ConfigError) as refused:
        config(tmp_path, "[[feed]]\nurl = ['rtsp://admin:hunter22@cam/live']")
    assert "hunter22" not in str(refused.value)


def test_a_profile_gives_way_to_what_is_said_beside_it():
    assert WatchSettings().workload == PROFILES["full"]
    light = WatchSettings(profile="light", analyse_hz=3.0).workload
    assert (light.analyse_hz, light.follow_hz) == (3.0, PROFILES["light"].follow_hz)


def test_verdict_limits_keep_their_order():
    with pytest.raises(ConfigError, match="real"):
        VerdictLimits(fake=0.3, real=0.6)
