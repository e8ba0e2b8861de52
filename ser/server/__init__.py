"""Serve a trained model: a page, POST /predict and a WebSocket of decisions."""
