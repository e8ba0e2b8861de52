"""Cut the utterances of a corpus into shards, so that a change of one changes few shards.

An utterance starts a shard if its own digest says so, not because of its place: after an added or removed utterance,
the cuts are the same again from the next shard or two on. Source: content-defined chunking, as in Muthitacharoen et
al., "A low-bandwidth network file system", 2001.
"""

from collections.abc import Sequence
from itertools import pairwise

UTTERANCES = 512
"""Mean number of utterances of a shard: 10 s of computing at 1 s each, lost when a process is killed."""
BYTES = 1 << 26
"""Mean size of the files of a shard, if they are large: 64 MiB, half an hour of 16 bits at 16 kHz."""
_SMALLEST = 0.25  # of the mean; fewer utterances are never a shard, unless the corpus ends


def cut(digests: Sequence[str], sizes: Sequence[float]) -> list[range]:
    """Cut a sequence of utterances into shards.

    Args:
        digests: Digest of each utterance in hexadecimal [N], 8 digits or more.
        sizes: Size in bytes of each utterance's file, or its share of it [N].

    Returns:
        Indices of the utterances of each shard, in their order.
    """
    starts, filled = [0], 0.0
    for index, (digest, size) in enumerate(zip(digests, sizes, strict=True)):
        share = 1 / UTTERANCES + size / BYTES
        if filled >= _SMALLEST and int(digest[:8], 16) < share / (1 - _SMALLEST) * (1 << 32):
            starts.append(index)
            filled = 0.0
        filled += share
    return [range(first, last) for first, last in pairwise([*starts, len(digests)]) if first < last]
