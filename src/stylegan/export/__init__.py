"""Models for other programs: ONNX, torch.export, a browser page, and the card that describes a model."""
