"""Clips: frames to MP4 (H.264), animated WebP or GIF, written as they arrive.

A frame is a uint8 array [H, W, C] with C = 1, 3 or 4; transparency is laid over white.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stylegan import images
from stylegan.errors import UserError

FORMATS = (".mp4", ".webp", ".gif")
MIN_SIDE = 256  # players show smaller clips as a stamp, if at all
CRF = 18  # x264's quality: 18 is about visually lossless


def check_format(path: str | Path) -> None:
    """UserError unless `write_video` can write this file: a known extension, and an encoder for it."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(
            f"{path}: clips are written as {', '.join(FORMATS)}; for others, write frames into a folder "
            f"and convert them"
        )
    if suffix == ".mp4":
        _check_h264()
    if suffix == ".webp":
        from PIL import features

        if not features.check("webp"):
            raise UserError(f"{path}: this Pillow cannot write WebP; write .gif, or install Pillow from PyPI")


def _check_h264() -> None:
    """UserError where PyAV or its H.264 encoder is missing."""
    remedy = "write .webp or .gif instead, or reinstall it with `pip install --force-reinstall av`"
    try:
        import av

        av.codec.Codec("libx264", "w")
    except ImportError as error:
        raise UserError(f"mp4 needs the package av, which cannot be imported ({error}); {remedy}") from error
    except (ValueError, LookupError) as error:
        raise UserError(f"this build of av (PyAV) has no H.264 encoder, libx264; {remedy}") from error


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float = 30.0,
    loop: bool = True,
    parameters: Mapping[str, Any] | None = None,
) -> int:
    """Writes a clip whose format follows from the extension; returns the number of frames.

    Frames smaller than 256 pixels are enlarged by a whole factor (nearest neighbour). `loop` is for WebP and
    GIF; GIF counts time in 1/100 s, so 30 fps becomes 33.3. UserError for another extension, a missing
    encoder, no frames, frames of several sizes, fps outside (0, 240], and places that cannot be written.
    """
    check_format(path)
    if not 0 < fps <= 240:
        raise UserError(f"fps {fps:g}: must be above 0 and at most 240")
    prepared = _prepared(frames)
    first = next(prepared, None)
    if first is None:
        raise UserError(f"{path}: a clip needs at least one frame")
    comment = "" if parameters is None else json.dumps(dict(parameters))
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for frame in itertools.chain([first], prepared):
            count += 1
            yield frame

    with images.atomic(path) as temporary:
        if Path(path).suffix.lower() == ".mp4":
            _write_mp4(temporary, counted(), fps, comment)
        else:
            _write_animation(temporary, counted(), fps, loop, comment)
    return count


def _prepared(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """RGB frames of one size, large enough to be seen."""
    shape: tuple[int, ...] | None = None
    for frame in frames:
        if shape is not None and frame.shape != shape:
            raise UserError(f"frames of {shape} and {frame.shape}: all frames of a clip must have one size")
        shape = frame.shape
        factor = -(-MIN_SIDE // max(frame.shape[:2])) if max(frame.shape[:2]) < MIN_SIDE else 1
        yield images.enlarge(images.to_rgb(frame), factor)


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame with its last row or column repeated where a side is odd: yuv420p halves both."""
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return frame


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: float, comment: str) -> None:
    """H.264, yuv420p, BT.709 and tagged so, index in front so that browsers can start at once."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream: Any = None
        for frame in map(_even, frames):
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options={"crf": str(CRF)})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
                context.color_range = 1  # 16-235
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _write_animation(path: Path, frames: Iterator[np.ndarray], fps: float, loop: bool, comment: str) -> None:
    """Animated WebP or GIF through Pillow."""
    first = images.to_pil(next(frames))
    rest = (images.to_pil(frame) for frame in frames)
    settings: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": 1000.0 / fps}
    if path.suffix.lower() == ".webp":
        # one whole number of milliseconds per frame: the format has no finer clock
        settings |= {"duration": round(1000.0 / fps), "loop": 0 if loop else 1, "quality": 90, "method": 4}
        first.save(path, format="WEBP", **settings)
        return
    settings["duration"] = max(20, round(100.0 / fps) * 10)
    if loop:
        settings["loop"] = 0
    if comment:
        settings["comment"] = comment.encode()
    first.save(path, format="GIF", optimize=False, **settings)
