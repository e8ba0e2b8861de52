"""A trained model's step as a file that runs without torch: ONNX, and JSON that says how to use it."""
