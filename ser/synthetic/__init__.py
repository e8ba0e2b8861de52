"""Generated speech, for demonstrations. The names that a config may hold."""

from ser.synthetic.challenge import DemoCorpus
from ser.synthetic.language_id import LanguageDemoCorpus
from ser.synthetic.language_stream import LanguageStreamDemoCorpus

__all__ = [
    "DemoCorpus",
    "LanguageDemoCorpus",
    "LanguageStreamDemoCorpus",
]
