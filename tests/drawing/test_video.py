"""Clips decode back to the frames that went in."""

import sys

import av
import numpy as np
import pytest
from PIL import Image

from stylegan import video
from stylegan.errors import UserError


def frames(count, height=20, width=36, channels=3):
    """Plain colours that differ from frame to frame."""
    for i in range(count):
        frame = np.full((height, width, channels), 255, dtype=np.uint8)
        frame[:, :, 0] = 40 + 15 * i
        yield frame


def test_mp4_decodes_back(tmp_path):
    path = tmp_path / "a.mp4"
    assert video.write_video(path, frames(7, 21, 37), fps=25, parameters={"psi": 0.7}) == 7
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
        assert container.metadata["comment"] == '{"psi": 0.7}'
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 7
    assert decoded[0].shape == (148 - 148 % 2, 260 - 260 % 2, 3)
    for i, frame in enumerate(decoded):
        assert np.abs(frame[60, 60].astype(int) - [40 + 15 * i, 255, 255]).max() <= 4


def test_odd_sizes_are_padded(tmp_path):
    path = tmp_path / "a.mp4"
    video.write_video(path, frames(2, 257, 301, 1))
    with av.open(str(path)) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (258, 302)


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_animations_decode_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    assert video.write_video(path, frames(5, channels=4), fps=10) == 5
    with Image.open(path) as picture:
        assert picture.n_frames == 5
        picture.seek(4)
        picture.load()
        assert picture.info["duration"] == 100
        assert picture.size == (36 * 8, 20 * 8)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.avi", {}, "clips are written as .mp4, .webp, .gif"),
        ("a.gif", {"fps": 0}, "fps 0"),
        ("a.mp4", {"fps": 1000}, "fps 1000"),
        ("file/a.gif", {}, "cannot be written"),
        ("file/a.mp4", {}, "cannot be written"),
    ],
)
def test_clips_that_cannot_be_written(tmp_path, name, settings, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message):
        video.write_video(tmp_path / name, frames(2), **settings)


def test_frames_must_exist_and_agree(tmp_path):
    with pytest.raises(UserError, match="at least one frame"):
        video.write_video(tmp_path / "a.mp4", [])
    with pytest.raises(UserError, match="one size"):
        video.write_video(tmp_path / "a.mp4", [*frames(1), *frames(1, 24, 36)])
    assert not list(tmp_path.iterdir())


def test_missing_encoder_names_the_remedy(tmp_path, monkeypatch):
    def missing(*_):
        raise av.codec.codec.UnknownCodecError("libx264")

    monkeypatch.setattr(av.codec, "Codec", missing)
    with pytest.raises(UserError, match=r"no H.264 encoder.*\.webp"):
        video.write_video(tmp_path / "a.mp4", frames(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"cannot be imported.*\.webp"):
        video.write_video(tmp_path / "a.mp4", frames(2))
