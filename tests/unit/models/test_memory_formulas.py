"""The formulas of the hardware guide against their own arithmetic, worked out by hand; not against its comments."""

from __future__ import annotations

import pytest

from cbi_queue.models import memory_formulas

MIB = 1024**2


def test_the_guide_s_boosting_example_is_39_mb_not_250() -> None:
    """20,000 * 150 * 8 + 1,000 * 2^8 * 64 + 20,000 * 16 = 24,000,000 + 16,384,000 + 320,000 bytes."""
    assert memory_formulas.boosting(20000, 150, max_depth=8) == 40_704_000 / MIB
    assert round(memory_formulas.boosting(20000, 150, max_depth=8)) == 39


def test_the_guide_s_lstm_examples_are_12_24_and_338_mb_not_gigabytes() -> None:
    """Small: input 1,597,440; states 7,864,320; weights 92,160 + 131,072 bytes, twice; head 768; times 1.3."""
    small = memory_formulas.recurrent(60, 256, 64, 2, 26)
    assert small == pytest.approx((1_597_440 + 7_864_320 + 2 * (92_160 + 131_072) + 768) / MIB * 1.3)
    assert round(small) == 12
    medium, large = memory_formulas.recurrent(60, 256, 128, 2, 26), memory_formulas.recurrent(120, 512, 256, 4, 26)
    assert medium == pytest.approx((1_597_440 + 15_728_640 + 2 * (315_392 + 524_288) + 1_536) / MIB * 1.3)
    assert large == pytest.approx((6_389_760 + 251_658_240 + 2 * (1_155_072 + 3 * 2_097_152) + 3_072) / MIB * 1.3)
    assert (round(medium), round(large)) == (24, 338)


def test_the_guide_s_transformer_example() -> None:
    """Input 4,194,304; a layer 12,582,912 + 33,554,432 + 16,777,216, twice; weights 1,572,864, twice; times 1.5."""
    small = memory_formulas.transformer(256, 32, 128, 4, 2)
    assert small == (4_194_304 + 2 * 62_914_560 + 2 * 1_572_864) / MIB * 1.5
    assert round(small) == 190


def test_the_guide_s_convolutional_example() -> None:
    """Input 76,800; convolutions 4,915,200; bottlenecks 245,760; head 8,192; weights 29,440, twice; times 1.3."""
    small = memory_formulas.convolutional(60, 64, 32, 2, 5)
    assert small == pytest.approx((76_800 + 4_915_200 + 245_760 + 8_192 + 2 * 29_440) / MIB * 1.3)


def test_the_guide_s_foundation_example_is_777_mb_not_8_gb() -> None:
    """800,000,000 + 2,097,152 + 12,582,912 bytes."""
    assert memory_formulas.foundation("chronos-base") == 814_680_064 / MIB
    assert round(memory_formulas.foundation("chronos-base")) == 777
    assert memory_formulas.foundation("moirai") == memory_formulas.foundation("chronos-base"), (
        "200 million when not known"
    )
    assert memory_formulas.foundation("chronos-large", 2) == pytest.approx((2.84e9 + 2 * 14_680_064) / MIB)


def test_attention_grows_with_the_square_of_the_sequence() -> None:
    """What the guide calls its key insight: of the scores, with next to nothing beside them."""
    short, long = (memory_formulas.transformer(n, 1, 1, 1, 1) for n in (4096, 8192))
    assert long / short == pytest.approx(4, rel=0.01)


def test_our_own_formula_for_dense_nets_counts_every_weight_twice() -> None:
    """Window 4 * 10 = 40 inputs to 8 to 1: 328 weights; 2 samples of 40 inputs and 9 units."""
    assert memory_formulas.dense(4, 2, (8,), 10) == pytest.approx((2 * 40 * 4 + 2 * 9 * 4 + 2 * 328 * 4) / MIB * 1.3)
