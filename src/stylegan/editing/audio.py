"""Loudness over time of a sound file, as a number per frame that can drive a direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stylegan.errors import UserError

RATE = 44_100  # samples per second that everything is brought to
WINDOW = 4096  # samples the loudness of a frame is taken over, 93 ms
MAX_SECONDS = 4 * 3600


def read_audio(path: str | Path, seconds: float) -> np.ndarray:
    """The first seconds of a sound file (or of a film's sound), mono float32 [samples] at 44.1 kHz.

    UserError: missing, no sound in it, damaged, or nothing PyAV can decode. Only this file is opened, whatever a
    playlist in it names.
    """
    import av

    path = Path(path)
    wanted = round(min(seconds, MAX_SECONDS) * RATE)
    parts: list[np.ndarray] = []
    count = 0
    try:
        # from a file object, with every protocol forbidden, so that no address or playlist leads elsewhere
        with open(path, "rb") as file, av.open(file, "r", options={"protocol_whitelist": "none"}) as container:
            if not container.streams.audio:
                raise UserError(f"{path}: has no sound in it")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray().reshape(-1))
                    count += parts[-1].size
                if count >= wanted:
                    break
            for part in resampler.resample(None):
                parts.append(part.to_ndarray().reshape(-1))
    except UserError:
        raise
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read as sound ({reason})") from None
    sound = np.concatenate(parts)[:wanted].astype(np.float32) if parts else np.zeros(0, np.float32)
    if not len(sound) or not np.isfinite(sound).all():
        raise UserError(f"{path}: has no sound in it")
    return sound


def envelope_of(
    sound: np.ndarray,  # mono [samples] at 44.1 kHz
    frames: int,
    fps: float,
    low: float | None = None,
    high: float | None = None,
    smooth: float = 0.1,
) -> np.ndarray:
    """Loudness per frame, float64 [frames] in [0, 1], 1 at the loudest; frames past the sound's end are 0.

    Root mean square over a Hann window of 93 ms around each frame, of the frequencies from low to high (Hz; None =
    all), then smoothed by a Gaussian whose standard deviation is half of `smooth` seconds. UserError: a band that
    is empty or above hearing.
    """
    bottom, top = low or 0.0, RATE / 2 if high is None else high
    if not 0 <= bottom < top <= RATE / 2:
        raise UserError(f"band {bottom:g}-{top:g} Hz: must be rising and within 0-{RATE // 2}")
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    inside = (frequencies >= bottom) & (frequencies <= top)
    if not inside.any():
        raise UserError(f"band {bottom:g}-{top:g} Hz: too narrow; give one of {RATE / WINDOW:.0f} Hz or more")
    window = np.hanning(WINDOW)
    padded = np.concatenate([np.zeros(WINDOW // 2), sound, np.zeros(WINDOW)])
    loud = np.zeros(frames)
    for i in range(frames):
        start = round(i / fps * RATE)
        if start >= len(sound):
            break
        piece = padded[start : start + WINDOW] * window
        loud[i] = np.sqrt((np.abs(np.fft.rfft(piece)[inside]) ** 2).sum())
    sigma = smooth * fps / 2
    if sigma > 0.1:
        reach = int(np.ceil(3 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        loud = np.convolve(np.pad(loud, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
    peak = loud.max()
    return loud / peak if peak > 1e-9 else np.zeros(frames)


def audio_envelope(
    path: str | Path,
    frames: int,
    fps: float,
    band: tuple[float | None, float | None] | None = None,
    smooth: float = 0.1,
) -> np.ndarray:
    """`envelope_of` a sound file."""
    low, high = band or (None, None)
    return envelope_of(read_audio(path, frames / fps), frames, fps, low, high, smooth)
