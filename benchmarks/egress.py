# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What machines fetch from a bucket in an epoch: counted from the order, without a network.

python benchmarks/egress.py
"""

import argparse

import numpy as np

from xmoco_plugin.data.shards import MIXED, epoch_order

GB = 1000
IMAGES, KB = 1_281_167, 110  # ImageNet-1K's, and about the mean of its files


def fetched(lengths: np.ndarray, machines: int, processes: int, mixed: int = MIXED) -> list[int]:
    """Shards that each machine asks for in an epoch, whose cache keeps those of its lanes.

    Args:
        lengths: Images of each shard.
        machines: That train.
        processes: On each.
        mixed: Shards that are read at a time.
    """
    shard_of = np.repeat(np.arange(len(lengths)), lengths)
    order = shard_of[epoch_order(lengths, 0, mixed)]
    ranks = np.arange(len(order)) % (machines * processes)
    return [len(np.unique(order[ranks // processes == m])) for m in range(machines)]


def main() -> None:
    """Prints the rows of docs/lab/shards.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=8, help="on a machine; default: 8")
    processes = parser.parse_args().processes
    whole = IMAGES * KB / 1e6  # GB
    print("| shard, MB | machines | requests | GB in all | of the set | cache, GB |")
    for mb in (8, 32, 128):
        count = max(round(whole * GB / mb), 1)
        lengths = np.full(count, IMAGES // count)
        for machines in (1, 2, 3, 4, 8, 64):
            asked = sum(fetched(lengths, machines, processes))
            times = asked / count
            row = (mb, machines, f"{asked:,}", f"{times * whole:,.0f}", f"{times:.2f}")
            print("|", " | ".join(map(str, row)), f"| {MIXED * mb / GB:g} |")


if __name__ == "__main__":
    main()
