"""Packages for Vertex AI and other servers: their names and versions, how one is made, the commands that deploy it."""

from __future__ import annotations
