"""The report as one HTML file: no scripts, no outside resources, dark and light, printable."""

from __future__ import annotations

import re
import time
from html import escape
from importlib.resources import files

import numpy as np

from stylegan import __version__
from stylegan.data.report import printable
from stylegan.doctor.diagnosis import Diagnosis
from stylegan.doctor.findings import KINDS
from stylegan.doctor.pictures import Thumbnails, bars, histogram
from stylegan.doctor.summary import MARKS, verdict

SHOWN = 24  # thumbnails per kind of finding
TABLED = 40  # rows per kind of finding without pictures
LISTED = 500  # further names per kind
GROUPS = 40  # groups of duplicates
MEMBERS = 8  # images of a group
SAMPLE = 24
BADGE = {"bad": "cannot be used", "warn": "deserves a look", "note": "good to know"}


def text(value: object) -> str:
    """Any text, such as a file name, as HTML: printable, escaped."""
    return escape(printable(str(value)), quote=True)


def render(diagnosis: Diagnosis) -> str:
    """The whole page."""
    thumbs = Thumbnails(diagnosis.subject.items)
    style = (files("stylegan.doctor") / "page.css").read_text(encoding="utf-8")
    sections = [
        _recommendation(diagnosis), _findings(diagnosis, thumbs), _groups(diagnosis, thumbs), _labels(diagnosis),
        _statistics(diagnosis), _sample(diagnosis, thumbs), _rest(diagnosis),
    ]  # fmt: skip
    name = text(diagnosis.subject.path.resolve().name)
    when = time.strftime("%Y-%m-%d %H:%M")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<meta name="color-scheme" content="light dark"/><title>Data report: {name}</title>'
        f"<style>{style}</style></head><body><main>\n"
        f'<header><p class="over">Data report</p><h1>{name}</h1><p class="verdict">{text(verdict(diagnosis))}</p>'
        f"{_tiles(diagnosis)}</header>\n{''.join(sections)}"
        f"<footer>stylegan-torch {__version__}, {when}. {len(diagnosis.facts):,} images in "
        f"{diagnosis.seconds:,.1f} s ({diagnosis.rate:,.0f} images/s). All names are in report.json.</footer>\n"
        "</main></body></html>\n"
    )


def _tiles(diagnosis: Diagnosis) -> str:
    stats = diagnosis.statistics
    levels = dict.fromkeys(BADGE, 0)
    for kind, images in diagnosis.findings.items():
        levels[KINDS[kind].level] += len(images)
    tiles = [
        (f"{len(diagnosis.facts):,}", "images", ""),
        (f"{stats['bytes'] / 1e6:,.1f} MB", diagnosis.subject.kind, ""),
    ]
    if diagnosis.recommendation.size:
        h, w = diagnosis.recommendation.size
        tiles.append((f"{w}×{h}", "recommended size" if diagnosis.subject.size is None else "prepared size", ""))
    tiles += [
        (f"{levels['bad']:,}", "cannot be used", "bad" if levels["bad"] else "good"),
        (f"{levels['warn']:,}", "deserve a look", "warn" if levels["warn"] else "good"),
        (f"{levels['note']:,}", "notes", ""),
    ]
    cells = (f'<div class="tile {tone}"><b>{value}</b><span>{text(name)}</span></div>' for value, name, tone in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _recommendation(diagnosis: Diagnosis) -> str:
    found = diagnosis.recommendation
    reasons = "".join(f"<li>{_prose(reason)}</li>" for reason in found.reasons)
    if found.size is None:
        return f"<section><h2>Recommendation</h2><ul>{reasons}</ul></section>\n"
    h, w = found.size
    kind = {1: "grey", 3: "RGB", 4: "RGBA"}.get(found.channels, f"{found.channels} channels")
    fit = {"crop": "centred square crop", "native": "crop to the images' own aspect", "": "as prepared"}[found.fit]
    rows = "".join(
        f"<tr><th>{text(row['setting'])}</th><td>{text(row['value'])}</td><td>{text(row['reason'])}</td></tr>"
        for row in found.settings
    )
    return (
        f"<section><h2>Recommendation</h2><p class='big'>{w}×{h} pixels, {kind}, {fit}</p><ul>{reasons}</ul>"
        f"<pre>{text(found.command)}</pre><p class='dim'>The prepared set takes {found.disk_bytes / 1e6:,.1f} MB.</p>"
        f"<details><summary>Settings that <code>stylegan train</code> would choose on a GPU</summary>"
        f'<div class="scroll"><table>{rows}</table></div></details></section>\n'
    )


def _findings(diagnosis: Diagnosis, thumbs: Thumbnails) -> str:
    parts = []
    grouped = {"duplicate", "conflict", "similar"}
    for kind, images in diagnosis.findings.items():
        about = KINDS[kind]
        rest = list(images.items())
        body = ""
        if about.level == "bad":
            body, rest = _table(diagnosis, rest[:TABLED]), rest[TABLED:]
        elif kind not in grouped:
            body = _cards(diagnosis, thumbs, rest[:SHOWN])
            rest = rest[SHOWN:]
        parts.append(
            f'<article id="{kind}"><h3><span class="badge {about.level}">{BADGE[about.level]}</span> {about.title} '
            f'<span class="count">{len(images):,}</span></h3><p>{_prose(about.meaning)} '
            f'<span class="dim">{_prose(about.remedy)}</span></p>'
            f"{body}{_listing(diagnosis, rest)}</article>\n"
        )
    if not parts:
        words = "Nothing was found that speaks against training on these images."
        return f"<section><h2>Findings</h2><p>{words}</p></section>\n"
    return f"<section><h2>Findings</h2>{''.join(parts)}</section>\n"


def _prose(words: str) -> str:
    """Words in which `...` is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(words))


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


def _table(diagnosis: Diagnosis, rows: list[tuple[int, str]]) -> str:
    """Files without a picture: name, size, reason."""
    lines = "".join(
        f"<tr><th>{text(diagnosis.name(index))}</th><td>{diagnosis.facts[index].bytes:,} B</td>"
        f"<td>{_prose(reason)}</td></tr>"
        for index, reason in rows
    )
    return f'<table class="files">{lines}</table>'


def _cards(diagnosis: Diagnosis, thumbs: Thumbnails, rows: list[tuple[int, str]]) -> str:
    cards = "".join(_card(diagnosis, thumbs, index, reason) for index, reason in rows)
    return f'<div class="cards">{cards}</div>' if cards else ""


def _card(diagnosis: Diagnosis, thumbs: Thumbnails, index: int, note: str) -> str:
    facts, name = diagnosis.facts[index], diagnosis.name(index)
    uri = "" if facts.problem else thumbs.uri(index)
    picture = f'<img src="{uri}" alt=""/>' if uri else '<div class="none">no picture</div>'
    note = f'<span class="dim">{text(note)}</span>' if note else ""
    folder, _, base = name.rpartition("/")
    place = f'<span class="dim">{_short(folder + "/")}</span>' if folder else ""
    caption = f"<figcaption>{place}<b>{_short(base)}</b>{note}</figcaption>"
    return f'<figure class="card" title="{text(name)}">{picture}{caption}</figure>'


def _short(name: str) -> str:
    """A name that fits under a thumbnail: its end is what tells files apart."""
    name = printable(name)
    return escape(name if len(name) <= 34 else "…" + name[-33:])


def _listing(diagnosis: Diagnosis, rows: list[tuple[int, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f"<li>{text(diagnosis.name(index))}{': ' if reason else ''}<span class='dim'>{text(reason)}</span></li>"
        for index, reason in rows[:LISTED]
    )
    more = f"<p>... and {len(rows) - LISTED:,} more in report.json</p>" if len(rows) > LISTED else ""
    summary = f"<summary>{_plural(len(rows), 'file')} by name</summary>"
    return f"<details>{summary}<ul class='names'>{lines}</ul>{more}</details>"


def _groups(diagnosis: Diagnosis, thumbs: Thumbnails) -> str:
    parts = []
    for title, groups, kind in (
        ("Duplicates side by side", diagnosis.duplicates, "equal"),
        ("Near-duplicates side by side", diagnosis.near, "alike"),
    ):
        if not groups:
            continue
        rows = []
        for group in sorted(groups, key=len, reverse=True)[:GROUPS]:
            cards = "".join(_card(diagnosis, thumbs, i, _facts(diagnosis, i)) for i in group[:MEMBERS])
            more = f'<div class="none">and {len(group) - MEMBERS:,} more</div>' if len(group) > MEMBERS else ""
            clash = len({diagnosis.subject.labels.name_of(i) for i in group} - {""}) > 1
            tone, label = (" clash", ", in different classes") if clash else ("", "")
            title_ = f"{len(group):,} {kind}{label}"
            rows.append(f'<div class="group{tone}"><p>{title_}</p><div class="cards">{cards}{more}</div></div>')
        more = f"<p>... and {len(groups) - GROUPS:,} more groups in report.json</p>" if len(groups) > GROUPS else ""
        body = f'<p>{_plural(len(groups), "group")}</p><div class="groups">{"".join(rows)}</div>{more}'
        parts.append(f"<section><h2>{title}</h2>{body}</section>\n")
    return "".join(parts)


def _facts(diagnosis: Diagnosis, index: int) -> str:
    f = diagnosis.facts[index]
    label = diagnosis.subject.labels.name_of(index)
    return f"{f.width}×{f.height}, {f.bytes / 1000:,.1f} kB" + (f", class {label}" if label else "")


def _labels(diagnosis: Diagnosis) -> str:
    labels = diagnosis.subject.labels
    if not (labels.origin or labels.problems or labels.hints):
        return ""
    problems = "".join(f'<li><span class="badge warn">problem</span> {_prose(line)}</li>' for line in labels.problems)
    hints = "".join(f"<li>{_prose(line)}</li>" for line in labels.hints)
    origin = f"<p>{len(labels.names):,} classes, from {text(labels.origin)}.</p>" if labels.origin else ""
    counts = {printable(n): c for n, c in zip(labels.names, labels.counts, strict=False)}
    return f"<section><h2>Labels</h2>{origin}<ul>{problems}{hints}</ul>{bars(counts)}</section>\n"


def _statistics(diagnosis: Diagnosis) -> str:
    usable = [f for f in diagnosis.facts if not f.problem]
    if not usable:
        return ""
    stats, size = diagnosis.statistics, diagnosis.recommendation.size
    sides = np.array([(f.height, f.width) for f in usable], np.float64)
    kilobytes = np.array([f.bytes for f in usable]) / 1000
    charts = [
        histogram(sides.min(axis=1), "Shorter side", " px", log=True, mark=min(size) if size else None),
        histogram(
            sides[:, 1] / sides[:, 0], "Aspect (width / height)", log=True, mark=size[1] / size[0] if size else None
        ),
        histogram([float(np.mean(f.colour)) for f in usable], "Brightness (0 black, 255 white)"),
        histogram([f.spread for f in usable], "Contrast (standard deviation)"),
        histogram(kilobytes, "File size", " kB", log=True),
    ]
    tables = [("Format", stats["formats"]), ("Mode", stats["modes"]), ("Bits per sample", stats["bits"])]
    tables.append(("Size (width × height)", dict(list(stats["sizes"].items())[:8])))
    marks = {name: stats[key] for key, name in MARKS.items() if stats[key]}
    if marks:
        tables.append(("Special", marks))
    columns = "".join(f"<div><h4>{title}</h4>{bars(counts, total=len(usable))}</div>" for title, counts in tables)
    return (
        f'<section><h2>What the images are</h2><div class="charts">{"".join(charts)}</div>'
        f'<p class="dim">Dashed lines: the recommended size.</p><div class="tables">{columns}</div></section>\n'
    )


def _sample(diagnosis: Diagnosis, thumbs: Thumbnails) -> str:
    """Some images as training will see them."""
    usable = [i for i, f in enumerate(diagnosis.facts) if not f.problem]
    if not usable or diagnosis.recommendation.size is None:
        return ""
    chosen = usable[:: max(1, len(usable) // SAMPLE)][:SAMPLE]
    uris = [(i, thumbs.uri(i, diagnosis.recommendation.size)) for i in chosen]
    pictures = "".join(f'<img src="{uri}" alt="" title="{text(diagnosis.name(i))}"/>' for i, uri in uris if uri)
    return f'<section><h2>What training will see</h2><div class="sample">{pictures}</div></section>\n'


def _rest(diagnosis: Diagnosis) -> str:
    subject = diagnosis.subject
    parts = []
    if subject.ignored:
        parts.append(f"<h3>Files that are no images</h3>{bars({printable(k): n for k, n in subject.ignored.items()})}")
    if subject.skipped:
        lines = "".join(
            f"<li>{text(name)}: <span class='dim'>{text(why)}</span></li>" for name, why in subject.skipped[:LISTED]
        )
        parts.append(f"<h3>Left out when the set was prepared</h3><ul class='names'>{lines}</ul>")
    return f"<section><h2>Beside the images</h2>{''.join(parts)}</section>\n" if parts else ""
