"""Generated speech for demonstrations. It offers the classes that a config may name."""

from ser.synthetic.challenge import DemoCorpus
from ser.synthetic.language_id import LanguageDemoCorpus
from ser.synthetic.language_stream import LanguageStreamDemoCorpus
from ser.synthetic.semantic import SemanticDemoCorpus

__all__ = [
    "DemoCorpus",
    "LanguageDemoCorpus",
    "LanguageStreamDemoCorpus",
    "SemanticDemoCorpus",
]
