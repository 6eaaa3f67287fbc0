"""Keras's part of training a net."""

from __future__ import annotations
