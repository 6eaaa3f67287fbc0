"""A trained model written for other programs: ONNX and native files, checked against each other, with what serves them."""

from __future__ import annotations
