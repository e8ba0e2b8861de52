"""The SERAB benchmark: frozen embeddings, five plain classifiers, nine corpora, one table."""
