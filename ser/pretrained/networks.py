"""Networks of log-mels by name: the published sizes, and what config.json of an encoder folder describes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from ser.pretrained.audio_ntt import AudioNTT
from ser.pretrained.cvt import CvT
from ser.pretrained.log_mel import LogMelNetwork

NetworkName = Literal[
    "audio_ntt_512", "audio_ntt_1024", "audio_ntt_2048", "cvt_small", "cvt_large", "cvt_large_2048"
]

NETWORKS: Mapping[str, type[LogMelNetwork]] = MappingProxyType(
    {network.model_type: network for network in (AudioNTT, CvT)}
)
"""Networks by the `model_type` of config.json."""

PUBLISHED_SIZES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        **{f"audio_ntt_{width}": {"model_type": "audio_ntt", "width": width} for width in (512, 1024, 2048)},
        "cvt_small": {"model_type": "cvt", "widths": [64, 128, 256]},
        "cvt_large": {"model_type": "cvt", "widths": [64, 256, 512]},
        "cvt_large_2048": {"model_type": "cvt", "widths": [64, 256, 512], "frequency": "flat"},
    }
)
"""Settings of the published networks."""


def describe_network(network: LogMelNetwork) -> dict[str, Any]:
    """Return the settings of a network, as config.json of an encoder folder holds them."""
    return {"model_type": network.model_type, **network.settings}


def build_network(config: Mapping[str, Any]) -> LogMelNetwork:
    """Build the network that `describe_network` describes, with random weights.

    Other keys than settings of the network are ignored, as programs add their own.
    """
    kind: Any = NETWORKS[config["model_type"]]
    known = kind().settings
    network: LogMelNetwork = kind(**{key: value for key, value in config.items() if key in known})
    return network
