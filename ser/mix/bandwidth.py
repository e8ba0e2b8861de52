"""Compare the sample rates of corpora with the frequencies that features use."""

from collections import Counter
from collections.abc import Mapping

from ser.audio.reader import probe
from ser.data.manifest import Manifest
from ser.errors import DataError, setting
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
    """Describe corpora that contain nothing at the highest frequencies of the features, if not all lack the same."""
    top = extractor.highest_frequency
    bands = {name: min(rate / 2, top) for name, rate in rates.items()}
    if len({*bands.values()}) < 2:
        return []
    narrow = ", ".join(f"{name} (nothing above {band:.0f} Hz)" for name, band in bands.items() if band < top)
    widest = [name for name, band in bands.items() if band == max(bands.values())]
    rest = setting("data.corpora", widest)
    limit = extractor.limit_band(min(bands.values()))
    if limit is None:
        remedy = f"These features cannot have a narrower band. Keep the corpora with the widest one: {rest}"
    elif extractor.is_waveform:
        remedy = f"For the same band in all, set {limit}; if the model takes {extractor.sample_rate} Hz only, {rest}"
    else:
        remedy = f"For the same band in all, set {limit}"
    return [
        f"narrower than the features, which reach {top:.0f} Hz: {narrow}; a model can tell these corpora apart by "
        f"that. {remedy}"
    ]
