"""Networks of the package `transformers` with true lengths, and folders in the layout of Hugging Face."""
