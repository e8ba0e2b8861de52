"""Trainings on several corpora, each tested on each."""
