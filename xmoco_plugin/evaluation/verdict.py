# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Is it learning? What the numbers of an epoch say; docs/judge_a_run.md derives each threshold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .against_start import FALLEN, Answers, Change, change

# Nats below a guess: a query's own key is twice as likely as by chance. Two groups of images that
# are told apart, and nothing else, give just this.
TWICE = math.log(2)
HALF = 0.5  # of the views, found by raw pixels; ours, amid what was measured (docs/lab/health.md)
BLIND = 10.0  # points: where chance alone moves kNN by more, it is no judge (ours)
WORSE = "worse than it began"
USUAL_TEMPERATURE = 0.2  # MoCo v2's: the scale of similarities where a method has none of its own


@dataclass(frozen=True)
class Accuracy:
    """kNN accuracy of a run, percent.

    Attributes:
        now: the latest.
        before: that of the untrained network.
        images: that were classified.
        error: standard error of the difference, in points; None where it is not known which
            images were right, and the two are taken for independent.
        pretrained: whether training began with good weights, not random ones.
    """

    now: float
    before: float
    images: int
    error: float | None = None
    pretrained: bool = False

    @property
    def change(self) -> Change:
        """The difference with its standard error."""
        if self.error is None:
            return change(Answers(self.before, self.images), Answers(self.now, self.images))
        return Change(self.before, self.now, self.error, self.images)

    @property
    def noise(self) -> float:
        """Three standard errors of a difference of two such accuracies, percent."""
        share = min(max((self.now + self.before) / 200, 0.0), 1.0)
        return 300 * math.sqrt(2 * share * (1 - share) / max(self.images, 1))

    @property
    def can_tell(self) -> bool:
        """Whether there are images enough for a rise to be told from chance."""
        return self.noise <= BLIND

    @property
    def has_risen(self) -> bool:
        """Whether it is above that of the untrained network by more than chance."""
        return self.now > self.before + self.noise

    def __str__(self) -> str:
        return f"{self.now:.1f} %, {self.before:.1f} % before training"


@dataclass(frozen=True)
class Verdict:
    """One of five words and the number behind it.

    Attributes:
        verdict: 'learning', 'collapsing', 'not learning', 'too early' or 'worse than it began'.
        reason: the rest of the sentence.
    """

    verdict: str
    reason: str

    @property
    def is_failure(self) -> bool:
        """Whether somebody should look."""
        return self.verdict in ("collapsing", "not learning", WORSE)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


def judge(
    values: Mapping[str, float],
    temperature: float | None,
    early: str | None = None,
    accuracy: Accuracy | None = None,
    taught: bool = False,
) -> Verdict:
    """The verdict on one epoch.

    Args:
        values: its means, by the names of docs/judge_a_run.md; what is absent is not judged.
        temperature: of the contrastive loss, None where there is none.
        early: why nothing can be said yet, None where it can.
        accuracy: where it was measured before training and since.
        taught: the keys are a teacher's; InfoNCE is then watched and no term of the loss.
    """
    broken = sorted(name for name, value in values.items() if not math.isfinite(value))
    if broken:
        return Verdict("not learning", f"{', '.join(broken)} became NaN or infinite")
    if temperature is not None and 1 / temperature < TWICE:
        return Verdict(
            "not learning",
            f"at a temperature of {temperature:g} even perfect embeddings would make a query's own "
            f"key only {math.exp(1 / temperature):.3g} times as likely as by chance",
        )
    fallen = accuracy is not None and accuracy.change.has_fallen
    if early is not None:
        # Good weights are no worse for a queue that is not full yet.
        if accuracy is not None and fallen and accuracy.pretrained:
            return _worse(accuracy)
        return Verdict("too early", early)
    if not {"pos_sim_mean", "neg_sim_mean"} <= values.keys():
        return Verdict("too early", "no similarities were seen")

    negative = values["neg_sim_mean"]
    scale = temperature or USUAL_TEMPERATURE
    gain = _gain(values, scale)
    if (1 - negative) / scale < TWICE:
        return Verdict(
            "collapsing",
            f"embeddings of different images have a mean similarity of {negative:.3f}; above "
            f"{1 - scale * TWICE:.3f} they cannot be told apart at temperature {scale:g}",
        )
    rank = values.get("effective_rank", math.inf)
    if rank < 2:
        return Verdict(
            "collapsing", f"the embeddings have an effective rank of {rank:.2f}, below 2"
        )
    if accuracy is not None and fallen:
        return _worse(accuracy)
    if gain < TWICE:
        return Verdict("not learning", _too_little(values, gain, scale, taught))
    matched = values.get("pixel_match", 0.0)
    if matched > HALF:
        return Verdict(
            "not learning",
            f"raw pixels alone find {matched:.0%} of the second views among those of a batch, so "
            "that little has to be learnt for it: look at the augmentations",
        )
    if accuracy is not None and accuracy.can_tell and not accuracy.has_risen:
        return Verdict(
            "not learning",
            f"kNN has not risen by more than chance ({accuracy.noise:.1f} points): {accuracy}",
        )
    knn = "" if accuracy is None else f"; kNN {accuracy}"
    if accuracy is not None and not accuracy.can_tell:
        chance = f"({accuracy.noise:.0f} points)"
        knn += f", which {accuracy.images} images do not tell from chance {chance}"
    return Verdict("learning", f"{_gained(values, gain, taught)}{knn}")


def _worse(accuracy: Accuracy) -> Verdict:
    """What has been lost since the start, and what to change."""
    lost = accuracy.change
    advice = (
        "train at a lower rate or for fewer epochs, with milder views, or keep the weights that "
        "it began with"
        if accuracy.pretrained
        else "the untrained network is no worse: look at the rate and at the views"
    )
    return Verdict(
        WORSE,
        f"{lost.before:.1f} % -> {lost.now:.1f} % by kNN, {lost}, more than {FALLEN} standard "
        f"errors; {advice}",
    )


def _gain(values: Mapping[str, float], scale: float) -> float:
    """Nats by which a query's own key is likelier than by chance."""
    if "nce_ratio" in values:
        return (1 - values["nce_ratio"]) * values["nce_uninformed"]
    return (values["pos_sim_mean"] - values["neg_sim_mean"]) / scale


def _gained(values: Mapping[str, float], gain: float, taught: bool) -> str:
    if "nce_ratio" not in values:
        return (
            f"two views of an image have a mean similarity of {values['pos_sim_mean']:.3f}, "
            f"different images one of {values['neg_sim_mean']:.3f}"
        )
    guess = values["nce_uninformed"]
    name, key = "InfoNCE", "a query's own key"
    if taught:
        name = "InfoNCE against the teacher's keys, watched and not trained,"
        key = "the teacher's key of an image"
    return (
        f"{name} is {guess - gain:.3f}, a guess {guess:.3f}: {key} is {math.exp(gain):.3g} times "
        "as likely as by chance"
    )


def _too_little(values: Mapping[str, float], gain: float, scale: float, taught: bool) -> str:
    text = f"{_gained(values, gain, taught)}, and should be at least 2"
    if "nce_ratio" not in values:
        text = f"{_gained(values, gain, taught)}; {scale * TWICE:.2f} between them is asked"
    return text
