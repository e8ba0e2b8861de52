"""Compare the sample rates of corpora with the frequencies that features use."""

from collections import Counter
from collections.abc import Mapping

from ser.audio.reader import probe
from ser.data.manifest import Manifest
from ser.errors import DataError
from ser.features.extractors import Extractor

_PROBED = 20  # files of a corpus, evenly spaced; opening one takes 0.1 ms


def sample_rates(manifests: Mapping[str, Manifest]) -> dict[str, int]:
    """Return the most frequent sample rate in Hz of each corpus; corpora without a readable file are left out."""
    found = {}
    for name, manifest in manifests.items():
        files = [*dict.fromkeys(utterance.path for utterance in manifest)]
        rates: Counter[int] = Counter()
        for path in files[:: max(1, len(files) // _PROBED)]:
            try:
                rates[probe(path).sample_rate] += 1
            except DataError:  # reported when its features are computed
                continue
        if rates:
            found[name] = rates.most_common(1)[0][0]
    return found


def describe_rates(rates: Mapping[str, int], extractor: Extractor) -> list[str]:
    """Describe different sample rates, which are all resampled to that of the features."""
    if len({*rates.values(), extractor.sample_rate}) < 2:
        return []
    listed = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
    return [f"Sample rates: {listed}; all are resampled to {extractor.sample_rate} Hz."]


def describe_narrow_bands(rates: Mapping[str, int], extractor: Extractor) -> list[str]:
    """Describe corpora that contain nothing at the highest frequencies of the features."""
    bands = extractor.band_frequencies()
    top = extractor.sample_rate / 2 if bands is None else max(bands)
    narrow = {name: rate for name, rate in rates.items() if rate / 2 < top}
    if not narrow or len(narrow) == len(rates):
        return []
    listed = ", ".join(f"{name} (nothing above {rate // 2} Hz)" for name, rate in narrow.items())
    return [
        f"narrower than the features, which reach {top:.0f} Hz: {listed}; a model can tell these corpora apart by "
        f"that. For the same band in all, set features.sample_rate={min(narrow.values())}"
    ]
