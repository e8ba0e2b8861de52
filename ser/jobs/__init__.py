"""Where jobs of a sweep run: in which process, on which GPU, by which launcher."""
