"""Findings in plain words: what is seen, what it means, what to try."""

from __future__ import annotations

from string import Formatter
from typing import Any

from stylegan.training.health.judgement import Finding

PAGE = "docs/is-it-working.md"

SEEN = {
    "divergence": "D's loss has been up to {loss_d:.3g}, where guessing gives {guessing:.2f}: the updates are too "
    "large, and each network undoes what the other learns",
    "divergence, moving away": "the fakes move away from the data: {distance:.2f} times as far as its images are from "
    "each other, after {distance_best:.2f} at best",
    "collapse": "the fakes differ {diversity:.2f} times as much as the data's images, and {twins:.0%} have a nearly "
    "identical other one: G draws few things again and again",
    "overfitting": "D scores held-out images {overfit:.0%} of the way from training images to fakes: it has learned "
    "the training images by heart, and what it tells G is no longer about images in general",
    "overfitting, none held out": "D is certain of every image (mean sign {sign_real:+.2f} on reals, {sign_fake:+.2f} "
    "on fakes) after {passes:.0f} passes over the data: it has probably learned it by heart",
    "vanishing": "D scores reals and fakes alike (they differ by {gap:.3f}, its loss is {loss_d:.3f}), so that its "
    "gradient tells G next to nothing",
    "no-progress": "the fakes are {distance:.2f} times as far from the data as its images from each other, and were "
    "{distance_before:.2f}: they do not come nearer",
}

REMEDIES = {
    "divergence": "Go back to an earlier checkpoint, or begin anew with a lower schedule.lr (a tenth, if it began at "
    "once) or a higher loss.r1_gamma",
    "collapse": "Try a higher loss.r1_gamma, a lower schedule.lr, discriminator.mbstd_group 4, or a larger batch; an "
    "earlier snapshot may still be good",
    "overfitting": "Try --augment.policy translate,brightness,contrast, more images or --mirror, a higher "
    "loss.r1_gamma, or stop here: the best model may be an earlier snapshot",
    "vanishing": "Try a lower loss.r1_gamma, or a wider D (discriminator.fmap_base, fmap_max); if it began at once or "
    "after a divergence, a lower schedule.lr",
    "no-progress": "Look whether the previews change at all; if not, schedule.lr is too low or schedule.d_lr_scale "
    "too high; if they do, try a higher loss.r1_gamma, which weakens D",
}

OVER = {
    "divergence": "D's loss is back below guessing",
    "collapse": "the fakes differ enough again",
    "overfitting": "D scores held-out images as it does training images again",
    "vanishing": "D tells reals from fakes again",
    "no-progress": "the fakes have come nearer to the data",
}


def kind_of(finding: Finding) -> str:
    """Which of SEEN a finding is: its code, or a variant of it."""
    if finding.code == "overfitting" and "overfit" not in finding.numbers:
        return "overfitting, none held out"
    if finding.code == "divergence" and "loss_d" not in finding.numbers:
        return "divergence, moving away"
    return finding.code


def seen(finding: Finding) -> str:
    """What is wrong, with its numbers; a clause without a period."""
    return SEEN[kind_of(finding)].format(**finding.numbers)


def figures(finding: Finding) -> dict[str, str]:
    """The numbers of that sentence as it writes them, for other languages."""
    parts = Formatter().parse(SEEN[kind_of(finding)])
    return {name: format(finding.numbers[name], spec or "") for _, name, spec, _ in parts if name}


def began(finding: Finding) -> str:
    """The sentences that are said once, when something begins."""
    return f"health: {finding.code}: {seen(finding)}. {REMEDIES[finding.code]} ({PAGE}#{finding.code})"


def ended(code: str, entry: dict[str, Any]) -> str:
    """The sentence that is said when it is over."""
    return f"health: {code} is over at {entry['nimg'] / 1000:.1f} kimg: {OVER.get(code, 'the measures are well again')}"
