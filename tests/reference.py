# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Slow, plain-Python versions of the terms, written from their definitions alone."""

import math


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def info_nce(q, k, queue, tau):
    """q, k: N rows; queue: K columns as rows."""
    total = 0.0
    for qi, ki in zip(q, k, strict=True):
        positive = math.exp(dot(qi, ki) / tau)
        total -= math.log(positive / (positive + sum(math.exp(dot(qi, m) / tau) for m in queue)))
    return total / len(q)


def softmax(values, tau):
    weights = [math.exp(v / tau) for v in values]
    return [w / sum(weights) for w in weights]


def kl(p, r):
    return sum(a * math.log(a / b) for a, b in zip(p, r, strict=True))


def similarity_rows(q, k, queue, pairs, target):
    """For each image: its similarities as student and as teacher, over its pairs."""
    rows = []
    for i in range(len(q)):
        others = [j for j in range(len(q)) if j != i]
        if pairs == "queue":
            rows.append(([dot(q[i], m) for m in queue], [dot(k[i], m) for m in queue]))
        elif target == "transpose":
            rows.append(([dot(q[i], k[j]) for j in others], [dot(q[j], k[i]) for j in others]))
        else:
            rows.append(([dot(q[i], k[j]) for j in others], [dot(k[i], k[j]) for j in others]))
    return rows


def consistency(q, k, queue, pairs, target, divergence, tau):
    rows = similarity_rows(q, k, queue, pairs, target)
    if divergence == "mse":
        squares = [(s - t) ** 2 for row in rows for s, t in zip(*row, strict=True)]
        return sum(squares) / len(squares)
    total = 0.0
    for student, teacher in rows:
        p, r = softmax(student, tau), softmax(teacher, tau)
        total += kl(r, p) if divergence == "kl" else (kl(p, r) + kl(r, p)) / 2
    return total / len(rows)


def relation(q, k, queue, pairs, tau, tau_teacher, divergence="kl", share=None, confidence=False):
    """Consistency with a fixed teacher that has a temperature, the own key, or doubts."""
    total = 0.0
    for i, (student, teacher) in enumerate(similarity_rows(q, k, queue, pairs, "momentum")):
        r = softmax(teacher, tau_teacher)
        weight = 1.0
        if confidence:
            weight = 1 + sum(p * math.log(p) for p in r) / math.log(len(r))
        if share is not None:
            student, r = [dot(q[i], k[i]), *student], [share, *((1 - share) * p for p in r)]
        p = softmax(student, tau)
        one_sided = sum(a * math.log(a / b) for a, b in zip(r, p, strict=True) if a > 0)
        total += weight * (one_sided if divergence == "kl" else (one_sided + kl(p, r)) / 2)
    return total / len(q)


def simplex(q, k, queue, negatives):
    rows = [row for row, _ in similarity_rows(q, k, queue, negatives, "momentum")]
    squares = [(s + 1 / len(row)) ** 2 for row in rows for s in row]
    return sum(squares) / len(squares)


def uniformity(q, k, queue, negatives, direction, tau):
    rows = similarity_rows(q, k, queue, negatives, "momentum")
    total = 0.0
    for similarities, _ in rows:
        p = softmax(similarities, tau)
        u = [1 / len(p)] * len(p)
        total += kl(u, p) if direction == "forward" else kl(p, u)
    return total / len(rows)
