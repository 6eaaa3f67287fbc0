"""Seeds as a function of their purpose: a run that starts anywhere draws what an undisturbed one draws. Pure."""

from __future__ import annotations

import hashlib


def mixed_seed(*parts: int | str) -> int:
    """Return a seed of 63 bits that depends on every part; similar ones such as (0, 1) and (1, 0) do not collide."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
