"""Readers of data that other toolkits wrote: audformat, Hugging Face datasets, EmoBox, Kaldi."""
