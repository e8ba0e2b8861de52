"""Shards of a corpus: where its utterances are cut, and their arrays read as one."""
