"""Clips: frames to MP4 (H.264), WebM (VP9), animated WebP or GIF, written as they arrive.

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

FORMATS = (".mp4", ".webp", ".gif", ".webm")
CODECS = {".mp4": ("libx264", "H.264", "aac"), ".webm": ("libvpx-vp9", "VP9", "libopus")}  # picture, its name, sound
MIN_SIDE = 256  # players show smaller clips as a stamp, if at all
CRF = {".mp4": 18, ".webm": 24}  # quality of x264 and of VP9: about visually lossless


def check_format(path: str | Path) -> None:
    """UserError unless `write_video` can write this file: a known extension, and an encoder for it."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(
            f"{path}: clips are written as {', '.join(FORMATS)}; for others, write frames into a folder "
            f"and convert them"
        )
    if suffix in CODECS:
        _check_encoder(suffix)
    if suffix == ".webp":
        from PIL import features

        if not features.check("webp"):
            raise UserError(f"{path}: this Pillow cannot write WebP; write .gif, or install Pillow from PyPI")


def _check_encoder(suffix: str) -> None:
    """UserError where PyAV or its encoder for .mp4 or .webm is missing."""
    codec, name, _ = CODECS[suffix]
    remedy = "write .webp or .gif instead, or reinstall it with `pip install --force-reinstall av`"
    try:
        import av

        av.codec.Codec(codec, "w")
    except ImportError as error:
        raise UserError(f"{suffix[1:]} needs the package av, which cannot be imported ({error}); {remedy}") from error
    except (ValueError, LookupError) as error:
        raise UserError(f"this build of av (PyAV) has no {name} encoder, {codec}; {remedy}") from error


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float = 30.0,
    loop: bool = True,
    parameters: Mapping[str, Any] | None = None,
    audio: str | Path | None = None,
) -> int:
    """Writes a clip whose format follows from the extension; returns the number of frames.

    Frames smaller than 256 pixels are enlarged by a whole factor (nearest neighbour). `loop` is for WebP and
    GIF; GIF counts time in 1/100 s, so 30 fps becomes 33.3. `audio`, a file with sound, is heard in mp4 and
    WebM, cut to the clip's length. UserError for another extension, a missing encoder, no frames, frames of
    several sizes, fps outside (0, 240], sound that cannot be read, and places that cannot be written.
    """
    check_format(path)
    suffix = Path(path).suffix.lower()
    if audio is not None and suffix not in CODECS:
        raise UserError(f"{path}: only .mp4 and .webm carry sound")
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
        if suffix in CODECS:
            _write_film(temporary, counted(), fps, comment, audio)
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


def _write_film(path: Path, frames: Iterator[np.ndarray], fps: float, comment: str, audio: str | Path | None) -> None:
    """H.264 or VP9, yuv420p, BT.709 and tagged so; an mp4's index in front so that browsers can start at once."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    suffix = path.suffix.lower()
    codec, _, sound_codec = CODECS[suffix]
    rate = Fraction(fps).limit_denominator(1001)
    # bitexact: no random identifiers in WebM, so that the same frames give the same bytes
    settings = {"movflags": "+faststart"} if suffix == ".mp4" else {"fflags": "+bitexact"}
    quality = {"crf": str(CRF[suffix])} | ({} if suffix == ".mp4" else {"b": "0", "cpu-used": "4", "row-mt": "1"})
    with av.open(str(path), "w", format=suffix[1:], options=settings) as container:
        if comment:
            container.metadata["comment"] = comment
        stream: Any = None
        sound: Any = None
        count = 0
        for frame in map(_even, frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=quality)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
                context.color_range = 1  # 16-235
                if audio is not None:
                    sound = container.add_stream(sound_codec, rate=48_000)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))
            count += 1
        container.mux(stream.encode())
        if audio is not None:
            _add_sound(container, sound, audio, count / fps)


def _add_sound(container: Any, stream: Any, audio: str | Path, seconds: float) -> None:
    """The first seconds of a file's sound into an open film. UserError where it has none that can be read."""
    import av

    wanted, done = round(seconds * stream.rate), 0
    try:
        with open(audio, "rb") as file, av.open(file, "r", options={"protocol_whitelist": "none"}) as source:
            if not source.streams.audio:
                raise UserError(f"{audio}: has no sound in it")
            resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=stream.rate, frame_size=960)
            for frame in itertools.chain(source.decode(audio=0), [None]):
                for part in resampler.resample(frame):
                    if done < wanted:
                        part.pts, part.time_base = done, Fraction(1, stream.rate)
                        container.mux(stream.encode(part))
                        done += part.samples
                if done >= wanted:
                    break
            container.mux(stream.encode())
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{audio}: cannot be read as sound ({reason})") from None


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
