"""Overrides from the command line: `--loss.r1_gamma 5` -> {"loss": {"r1_gamma": 5}}, checked against the schema."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stylegan.config.presets import Diff, merge
from stylegan.config.schema import Config
from stylegan.errors import UserError


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """(dotted name, field) of every knob, in the order of the schema."""
    for section, info in Config.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                yield f"{section}.{name}", field


def parse_overrides(arguments: Sequence[str]) -> Diff:
    """['--loss.r1_gamma', '5', '--data.mirror', '--data.use_labels=true'] -> nested difference.

    Values are JSON where they parse as JSON, else strings; a flag without a value is true; true/false/none in
    any case are understood. UserError for unknown names (with the nearest), for a missing name, and twice-given.
    """
    known = dict(fields())
    diff: Diff = {}
    seen: set[str] = set()
    i = 0
    while i < len(arguments):
        word = arguments[i]
        if not word.startswith("--"):
            raise UserError(f"argument {word!r}: not understood; settings are given as --section.field VALUE")
        name, separator, text = word[2:].partition("=")
        name = name.replace("-", "_")
        if not separator:
            has_value = i + 1 < len(arguments) and not arguments[i + 1].startswith("--")
            text = arguments[i + 1] if has_value else "true"
            i += has_value
        i += 1
        if name not in known:
            near = _nearest(name, list(known))
            raise UserError(f"setting --{name}: unknown{near}; `stylegan train --help` lists all")
        if name in seen:
            raise UserError(f"setting --{name}: given twice")
        seen.add(name)
        section, field = name.split(".")
        diff = merge(diff, {section: {field: _value(text)}})
    return diff


def _value(text: str) -> Any:
    word = text.lower()
    if word in ("true", "yes", "on", "false", "no", "off"):
        return word in ("true", "yes", "on")
    if word in ("none", "null"):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        parts = text.split(",")
        return [_value(part) for part in parts] if len(parts) > 1 else text


def _nearest(name: str, known: list[str]) -> str:
    """', did you mean --x or --y?' or ''. A bare field name finds its section."""
    bare = [k for k in known if k.split(".")[1] == name.split(".")[-1]]
    near = bare or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f", did you mean {' or '.join('--' + n for n in near[:3])}?" if near else ""


def help_lines() -> list[tuple[str, str]]:
    """('--loss.r1_gamma', 'weight of ... (default 10.0)') for every knob, for `stylegan train --help`."""
    return [
        (f"--{name}", f"{info.description} (default {json.dumps(info.get_default(call_default_factory=True))})")
        for name, info in fields()
        if not (name.startswith("discriminator.") and name.split(".")[1] in ("resolution", "base", "channels"))
        and name != "data.fingerprint"
    ]
