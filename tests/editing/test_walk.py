"""Walks: keyframes are met exactly, loops close, layer groups and sound do what the timeline says."""

import json
import math
import wave

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stylegan import editing as ed
from stylegan.drawing import Look, class_centres
from stylegan.editing.walk import blend
from stylegan.errors import UserError

from .conftest import TRADITIONAL, make


def timeline(*sources, **settings):
    tracks = [{"keyframes": [{"source": s} if not isinstance(s, dict) else s for s in sources]}]
    return ed.Timeline.model_validate({"tracks": tracks, "frames": 12, "fps": 6.0, "psi": 1.0, **settings})


def seed_ws(G, *seeds):
    return torch.cat([ed.latents_of_seed(G, seed).ws for seed in seeds])


@pytest.fixture(scope="module")
def burst(tmp_path_factory):
    """Three seconds: silence, 440 Hz, silence, with a soft 5 kHz all along."""
    t = np.arange(44_100 * 3) / 44_100
    sound = 0.5 * np.sin(2 * np.pi * 440 * t) * ((t > 1) & (t < 2)) + 0.1 * np.sin(2 * np.pi * 5000 * t)
    path = tmp_path_factory.mktemp("sound") / "burst.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


# --- curves -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True])
def test_splines_are_scipys(closed):
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(0)
    times, values = np.array([0.0, 1.0, 1.5, 4.0, 4.2]), rng.standard_normal((5, 3, 2))
    curve = ed.Curve(times, values, 6.0 if closed else None, spline=True)
    if closed:
        times, values = np.append(times, 6.0), np.concatenate([values, values[:1]])
    reference = interpolate.CubicSpline(times, values, bc_type="periodic" if closed else "natural")
    for t in np.linspace(0, times[-1] - 1e-6, 41):
        assert np.allclose(curve(t), reference(t), atol=1e-6)
    if closed:
        assert np.allclose(curve(6.0), curve(0.0))
        assert np.allclose(curve(7.3), curve(1.3))


def test_curves_of_few_points():
    assert ed.Curve([0], np.array([[5.0]]), 2.0, True)(1.7) == 5
    assert ed.Curve([0, 1], np.array([0.0, 10.0]), None, True)(0.3) == pytest.approx(3)
    assert ed.Curve([0, 1], np.array([0.0, 10.0]), 2.0, True)(1.5) == pytest.approx(5)
    three = ed.Curve([0, 1, 2], np.array([0.0, 1.0, 0.0]), 3.0, True)
    assert [float(three(t)) for t in (0, 1, 2, 3)] == [0, 1, 0, 0]


def test_easing():
    curve = ed.Curve([0, 1, 2, 3], np.array([0.0, 1.0, 2.0, 3.0]), None, False, ["linear", "smooth", "hold", "linear"])
    assert float(curve(0.25)) == 0.25
    assert float(curve(1.25)) == pytest.approx(1 + 3 * 0.25**2 - 2 * 0.25**3)
    assert float(curve(2.99)) == 2
    assert float(curve(3)) == 3
    with pytest.raises(UserError, match="must be one of linear, smooth, hold"):
        ed.Curve([0, 1], np.zeros(2), easings=["fast", "linear"])


# --- paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["linear", "spline"])
def test_keyframes_are_met_and_loops_close(plain, interpolation):
    ws = seed_ws(plain, 1, 2, 3)
    path = ed.Walk(plain, timeline(1, 2, 3, interpolation=interpolation)).path()
    assert torch.allclose(path[[0, 4, 8]], ws, atol=1e-5)
    steps = (path - path.roll(1, 0)).flatten(1).norm(dim=1)
    assert float(steps[0]) < 1.5 * float(steps.mean()) + 1e-6  # from the last frame to the first as elsewhere
    straight = ed.Walk(plain, timeline(1, 2, 3, interpolation=interpolation, loop=False, frames=13)).path()
    assert torch.allclose(straight[[0, 6, 12]], ws, atol=1e-5)
    if interpolation == "linear":
        assert torch.allclose(path[1], torch.lerp(ws[0], ws[1], 0.25), atol=1e-5)


def test_times_truncation_and_easing_by_keyframe(plain):
    keys = [
        {"source": 1, "at": 0, "psi": 1.0},
        {"source": 2, "at": 1.5, "psi": 0.5, "easing": "hold"},
        {"source": 2, "at": 1.75, "psi": 0.0},
    ]
    path = ed.Walk(plain, timeline(*keys, loop=False)).path()
    one, two = seed_ws(plain, 1, 2)
    mean = plain.w_avg
    assert torch.allclose(path[0, 0], one[0], atol=1e-5)
    assert torch.allclose(path[9, 0], mean + 0.5 * (two[0] - mean), atol=1e-5)
    assert torch.allclose(path[10, 0], path[9, 0], atol=1e-5)  # held
    assert torch.allclose(path[11, 0], mean, atol=1e-5)
    third = ed.Walk(plain, timeline(*keys, loop=False)).ws_at(3)[0, 0]
    assert torch.allclose(third, mean + (5 / 6) * (torch.lerp(one[0], two[0], 1 / 3) - mean), atol=1e-5)
    short = ed.Walk(plain, timeline({"source": 1, "psi": 0.0}, cutoff=2)).path()
    assert torch.allclose(short[0, :2], mean.expand(2, -1), atol=1e-5)
    assert torch.allclose(short[0, 2:], one[2:], atol=1e-5)


def test_layer_groups_take_their_own_tracks(plain):
    tracks = [{"keyframes": [{"source": 1}]}, {"layers": "middle", "keyframes": [{"source": 2}, {"source": 3}]}]
    path = ed.Walk(plain, ed.Timeline.model_validate({"tracks": tracks, "frames": 4, "psi": 1})).path()
    ws = seed_ws(plain, 1, 2, 3)
    assert torch.allclose(path[:, :4], ws[0, :4].expand(4, -1, -1), atol=1e-5)
    assert torch.allclose(path[2, 4:], ws[2, 4:], atol=1e-5)
    lonely = ed.Timeline.model_validate({"tracks": tracks[1:], "frames": 4})
    with pytest.raises(UserError, match=r"layers \[0, 1, 2, 3\]: no track has them"):
        ed.Walk(plain, lonely)


def test_projections_are_keyframes(plain, tmp_path):
    torch.manual_seed(0)
    noise = [torch.randn(1, 1, *size) for size in plain.synthesis.noise_sizes(0.0)]
    found = ed.Latents(torch.randn(1, 6, 8), noise)
    ed.save_latents(tmp_path / "a.w.safetensors", found, plain)
    score = timeline("a.w.safetensors", 2, noise="keyframes", psi=0.5)
    walk = ed.Walk(plain, score, folder=tmp_path)
    assert torch.allclose(walk.ws_at(0), found.ws, atol=1e-5)  # photos are not truncated unless asked
    assert np.array_equal(walk.frame(0), ed.draw(plain, found))
    assert np.array_equal(ed.Walk(plain, score, {"a.w.safetensors": found}).frame(0), walk.frame(0))
    with pytest.raises(UserError, match=r"a\.w\.safetensors: not at hand here"):
        ed.Walk(plain, score)
    with pytest.raises(UserError, match="cannot be read"):
        ed.Walk(plain, score, folder=tmp_path / "elsewhere")
    second = ed.Walk(plain, timeline(2, noise="keyframes")).noise_at(0)
    half = [0.5**0.5 * (a + b) for a, b in zip(noise, second, strict=True)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(walk.noise_at(3), half, strict=True))


# --- frames and noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["stored", "none", "random", "animated", "keyframes"])
def test_frames_do_not_depend_on_each_other(plain, noise):
    walk = ed.Walk(plain, timeline(1, 2, noise=noise))
    frames = list(walk.frames())
    assert len(frames) == 12
    assert all(np.array_equal(walk.frame(i), frames[i]) for i in (11, 0, 5))
    with pytest.raises(UserError, match="frames 0-11"):
        walk.frame(12)


def test_animated_noise_flows_and_stays_noise():
    G = make(resolution=64)
    walk = ed.Walk(G, timeline(1, frames=24, fps=12.0, noise="animated", noise_seconds=0.5))
    noise = [walk.noise_at(i)[-1] for i in range(24)]
    for i, layer in enumerate(noise):
        assert float(layer.square().mean()) == pytest.approx(1, abs=0.15)
        following = noise[(i + 1) % 24]  # around the end too
        # a step of 1/6 of a quarter circle; at an anchor the path bends, so the bound is of one arc
        correlation = torch.corrcoef(torch.stack([layer.flatten(), following.flatten()]))[0, 1]
        assert float(correlation) > math.cos(math.pi / 12) - 0.02
    assert abs(float((noise[0] * noise[6]).mean())) < 0.06
    a, b = [torch.ones(1)], [torch.zeros(1)]
    assert blend(a, b, 0.0)[0] == 1
    assert blend(a, b, 1.0)[0] == 0
    assert ed.Walk(make(noise=False), timeline(1, noise="animated")).frame(3).shape == (16, 16, 3)


# --- sound --------------------------------------------------------------------------------------------------


def test_loudness(burst):
    loud = ed.audio_envelope(burst, 40, 10.0, (200, 1000), smooth=0)
    assert loud.shape == (40,)
    assert loud.max() == 1
    assert loud[12:18].min() > 0.95
    assert loud[:9].max() < 0.05
    assert not loud[30:].any()  # past the end of the sound
    high = ed.audio_envelope(burst, 30, 10.0, (4000, 6000), smooth=0)
    assert high[2:28].min() > 0.8
    smooth = ed.audio_envelope(burst, 30, 10.0, (200, 1000), smooth=0.6)
    assert 0.05 < smooth[9] < 0.95
    sound = ed.read_audio(burst, 1.5)
    assert sound.shape == (66_150,)
    # a sine's root mean square does not depend on where the windows are
    t = np.arange(44_100) / 44_100
    steady = ed.envelope_of(np.sin(2 * np.pi * 1000 * t).astype(np.float32), 20, 25.0, smooth=0)
    assert np.allclose(steady[2:18], 1, atol=0.01)
    assert not ed.envelope_of(np.zeros(44_100, np.float32), 10, 10.0).any()


def test_what_is_no_sound(tmp_path, burst):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{burst}\n")  # would lead to another file
    for path in (tmp_path / "text.wav", tmp_path / "none.wav", tmp_path, tmp_path / "list.m3u8"):
        with pytest.raises(UserError, match="cannot be read as sound"):
            ed.read_audio(path, 1.0)
    for band in ((500, 100), (0, 30_000), (100, 101)):
        with pytest.raises(UserError, match="band"):
            ed.audio_envelope(burst, 10, 10.0, band)


def test_sound_drives_directions_and_truncation(plain, tmp_path, burst):
    found = ed.sefa(plain, 1)
    ed.save_directions(tmp_path / "d.safetensors", found)
    direction = {"target": "d.safetensors:sefa-0", "strength": 2.0, "layers": "coarse"}
    drives = [direction, {"target": "psi", "strength": 0.5}]
    score = timeline(1, frames=18, drives=drives, psi=0.5)
    loud = np.linspace(0, 1, 18)
    walk = ed.Walk(plain, score, folder=tmp_path, envelopes=[loud, loud])
    one, mean = seed_ws(plain, 1), plain.w_avg
    for i in (0, 9, 17):
        expected = mean + (0.5 + 0.5 * loud[i]) * (one - mean)
        expected = ed.apply_edits(expected, [ed.Edit(found[0], 2 * loud[i], (0, 1, 2, 3))])
        assert torch.allclose(walk.ws_at(i), expected, atol=1e-5)
    heard = ed.Walk(plain, timeline(1, frames=18, drives=drives, audio=str(burst)), folder=tmp_path)
    assert heard.drives[0][2].argmax() in range(6, 12)  # the loud second, at 6 frames per second
    with pytest.raises(UserError, match="no sound given"):
        ed.Walk(plain, score, folder=tmp_path)
    with pytest.raises(UserError, match="not at hand here"):
        ed.Walk(plain, score, envelopes=[loud, loud])
    assert ed.Walk(plain, score, directions={"d.safetensors": found}, envelopes=[loud, loud]).edits == []
    with pytest.raises(UserError, match="must be 18 finite numbers"):
        ed.Walk(plain, score, folder=tmp_path, envelopes=[loud * np.nan, loud])


# --- timelines ----------------------------------------------------------------------------------------------


def test_timelines_are_data(tmp_path):
    score = timeline(1, {"source": "7", "class": 2, "easing": "smooth"}, edits=("d:x=1",), noise="animated")
    assert score.tracks[0].keyframes[1].source == 7
    (tmp_path / "t.json").write_text(json.dumps(score.model_dump(mode="json", by_alias=True)))
    assert ed.read_timeline(tmp_path / "t.json") == score
    (tmp_path / "t.toml").write_text(
        'frames = 12\nfps = 6\npsi = 1.0\nnoise = "animated"\nedits = ["d:x=1"]\n'
        '[[tracks]]\nkeyframes = [{source = 1}, {source = 7, class = 2, easing = "smooth"}]\n'
    )
    assert ed.read_timeline(tmp_path / "t.toml") == score


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "timeline: Input should be"),
        ('{"tracks": []}', "tracks"),
        ('{"tracks": [{"keyframes": [{"sorce": 1}]}]}', r"tracks\.0\.keyframes\.0"),
        ('{"tracks": [{"keyframes": [{"source": 1}]}], "frames": 0}', "frames"),
        ('{"tracks": [{"keyframes": [{"source": 1}]}], "fps": NaN}', "fps"),
        ('{"tracks": [{"keyframes": [{"source": 1, "at": 1}]}]}', "the first must be at 0"),
        ('{"tracks": [{"keyframes": [{"source": 1, "at": 0}, {"source": 2}]}]}', "every keyframe of a track"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_timelines_that_are_wrong(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match=message):
        ed.read_timeline(tmp_path / "t.json")
    with pytest.raises(UserError, match=r"a timeline is a \.json or \.toml"):
        ed.read_timeline(tmp_path / "t.yaml")


def test_walks_that_do_not_fit(plain):
    late = [{"source": 1, "at": 0}, {"source": 2, "at": 5}]
    with pytest.raises(UserError, match="a keyframe at 5 s: the clip has 2 s"):
        ed.Walk(plain, timeline(*late, loop=False))
    with pytest.raises(UserError, match="generator has no classes"):
        ed.Walk(plain, timeline({"source": 1, "class": 0}))
    with pytest.raises(UserError, match="traditional generator"):
        ed.Walk(make(**TRADITIONAL), timeline(1))
    with pytest.raises(UserError, match="--cutoff 9"):
        ed.Walk(plain, timeline(1, cutoff=9))
    with pytest.raises(ValidationError):
        timeline(1, noise="loud")


def test_tracks_as_written():
    assert [key.source for key in ed.track_of("0, 5,photo.w.safetensors").keyframes] == [0, 5, "photo.w.safetensors"]
    assert ed.track_of("coarse: 1").layers == "coarse"
    assert ed.track_of("4-7,9: 1, 2").layers == "4-7,9"
    for wrong in ("", "1,,2", "photo.png", "coarse:"):
        with pytest.raises(UserError, match="keyframes"):
            ed.track_of(wrong)


def test_a_look_of_ones_own(plain):
    walk = ed.Walk(plain, timeline(1, 2), look=Look(noise="none", channels=(0,)))
    assert walk.frame(0).shape == (16, 16, 1)


def test_truncation_towards_the_class():
    """At keyframes it is that of `generate --towards class`; between two classes the centre moves too."""
    G = make(labels=3)
    keys = ({"source": 4, "class": 2}, {"source": 6, "class": 0, "psi": 0.2})
    walk = ed.Walk(G, timeline(*keys, psi=0.5, cutoff=3, towards="class", frames=8))
    centres = class_centres(G)
    for frame, seed, class_, psi in ((0, 4, 2, 0.5), (4, 6, 0, 0.2)):
        expected = ed.latents_of_seed(G, seed, psi, 3, class_, centres).ws
        assert torch.allclose(walk.ws_at(frame), expected, atol=1e-6)
    w = sum(ed.latents_of_seed(G, seed, class_=class_).ws for seed, class_ in ((4, 2), (6, 0))) / 2
    middle = (centres[2] + centres[0]) / 2
    assert torch.allclose(walk.ws_at(2)[:, :3], middle + 0.35 * (w[:, :3] - middle), atol=1e-6)
    assert torch.allclose(walk.ws_at(2)[:, 3:], w[:, 3:], atol=1e-6)
    turn = ed.Walk(G, timeline(4, psi=0.0, towards="class"))  # class 1, whose turn it is
    assert torch.allclose(turn.ws_at(0)[0, 0], centres[1], atol=1e-6)
    same = ed.Walk(G, timeline(4, psi=0.0), look=Look(centres=centres))
    assert torch.equal(same.ws_at(3), turn.ws_at(3))
    plain = ed.Walk(G, timeline(4, psi=0.0))
    assert torch.allclose(plain.ws_at(0)[0, 0], G.w_avg, atol=1e-6)


def test_files_are_truncated_towards_the_class_they_name():
    G = make(labels=3)
    found = ed.latents_of_seed(G, 5, class_=2)
    key = {"source": "photo", "psi": 0.0}
    walk = ed.Walk(G, timeline(key, towards="class"), {"photo": found})
    assert torch.allclose(walk.ws_at(0)[0, 0], class_centres(G)[2], atol=1e-6)
    nobody_knows = ed.Walk(G, timeline(key, towards="class"), {"photo": ed.Latents(found.ws)})
    assert torch.allclose(nobody_knows.ws_at(0)[0, 0], G.w_avg, atol=1e-6)
    with pytest.raises(UserError, match="trained without classes"):
        ed.Walk(make(), timeline(1, towards="class"))
    with pytest.raises(UserError, match="class 3 of seed 1: this generator has 3 classes"):
        ed.Walk(G, timeline({"source": 1, "class": 3}, towards="class"))
