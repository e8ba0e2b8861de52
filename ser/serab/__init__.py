"""SERAB benchmark: frozen embeddings, five simple classifiers, nine corpora, one table."""
