# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Average precision by the rules of PASCAL VOC."""

import numpy as np

RULES = ("area", "11point", "step")


def average_precision(truth: np.ndarray, scores: np.ndarray, rule: str = "area") -> float:
    """Average precision of one class in [0, 1]; equal scores are one step of the curve.

    Args:
        truth: (n,), 1 where the image shows the class, 0 where not, -1 (difficult) to ignore it.
        scores: (n,), higher for the class.
        rule: 'area': the area under the curve of precision made falling, VOC's rule from 2010 on
            and that of FAIR's VOC07 SVM benchmark (arXiv 1905.01235); '11point': the mean of that
            curve at recall 0, 0.1, ..., 1, the rule of the VOC2007 challenge; 'step': the
            area without making the curve fall, as scikit-learn and mmpretrain have it.

    Raises:
        ValueError: no image of the class, scores that are not finite, an unknown rule.
    """
    # Here, so that the other protocols do without scikit-learn.
    from sklearn.metrics import average_precision_score, precision_recall_curve

    if rule not in RULES:
        raise ValueError(
            f"the rule of average precision is one of {', '.join(RULES)}, not {rule!r}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} of {len(scores)} scores are not finite"
        )
    truth, scores = truth[truth >= 0], scores[truth >= 0]
    if not truth.any():
        raise ValueError(f"none of {len(truth)} images shows the class: there is nothing to find")
    if rule == "step":
        return float(average_precision_score(truth, scores))
    # From recall 1 down to the first image found; the last point, precision 1 at recall 0, is made.
    precision, recall, _ = precision_recall_curve(truth, scores)
    falling = np.maximum.accumulate(precision[:-1])
    if rule == "11point":
        # The largest precision at this recall or beyond.
        return float(np.mean([falling[recall[:-1] >= tenth / 10][-1] for tenth in range(11)]))
    return float(-np.diff(recall) @ falling)
