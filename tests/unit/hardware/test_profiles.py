"""Hardware profiles: the seed's numbers, fitted to the machine at hand, and files that are refused with their place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cbi_queue.cli.verbs.profile import command as profile_verb
from cbi_queue.errors import SettingsError
from cbi_queue.hardware import PROFILES, known_profiles, profile_named
from cbi_queue.hardware.profiles import SHIPPED, SHIPPED_FOLDER
from cbi_queue.models.catalogue import BATCH_KINDS

M4 = PROFILES["m4-16gb"]


@pytest.fixture
def own(tmp_path: Path):
    """Write a profile of the user's own; return it as read."""

    def write(text: str, name: str = "mine"):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        return profile_named(name, tmp_path)

    return write


def refused(own, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        own(text)
    return caught.value.message


def test_every_shipped_file_is_a_profile_and_none_is_forgotten() -> None:
    assert sorted(path.stem for path in SHIPPED_FOLDER.glob("*.toml")) == sorted(SHIPPED) == sorted(PROFILES)


def test_the_sixteen_gigabyte_machine_has_the_guide_s_figures() -> None:
    assert M4.batch_ceilings == {
        "feed_forward": 64, "recurrent_1_layer": 64, "recurrent_2_layer": 32, "tcn": 32, "attention": 16, "finbert": 16,
    }  # fmt: skip
    assert (M4.sequence_ceiling, M4.hero_sequence_ceiling) == (256, 512)
    assert M4.goal_mib == 1.5 * 1024
    assert M4.working_set_mib == pytest.approx(10.67 * 1024, rel=0.001)
    assert M4.accelerator_mib == pytest.approx(0.8 * M4.working_set_mib, rel=0.001)
    assert {M4.precision_for(kind) for kind in BATCH_KINDS} == {"float16"}


def test_larger_machines_have_their_own_documents_figures() -> None:
    assert PROFILES["m4-24gb"].batch_ceilings["tcn"] == 32 * 2, "batches of 32, accumulated twice"
    assert PROFILES["m4-32gb"].batch_ceilings["attention"] == 1024 * 2, "batches of 1,024, accumulated twice"
    assert PROFILES["m4-32gb"].working_set_mib == 24 * 1024, "safe training limit 24 GB"
    assert PROFILES["m1max-32gb"].working_set_mib == 14 * 1024, "the largest that its note calls safe"
    assert PROFILES["m1max-32gb"].precision_for("attention") == "float32", "float32 for stability on MPS"
    assert PROFILES["cuda"].precision_for("tcn") == "bfloat16"
    assert PROFILES["linux-cpu"].devices == ("cpu",)


def test_a_model_that_is_no_net_computes_in_float32_within_the_whole_working_set() -> None:
    assert M4.precision_for(None) == "float32"
    assert M4.limit_mib(None) == M4.working_set_mib
    assert M4.limit_mib("tcn") == M4.accelerator_mib


def test_a_kind_of_net_that_a_profile_does_not_name_gets_the_smallest_ceiling_and_float32() -> None:
    """A new kind of net needs no edit of six files; half precision and large batches are for what was tried."""
    assert M4.batch_ceiling_for("recurrent_3_layer") == 16
    assert PROFILES["cuda"].batch_ceiling_for("recurrent_3_layer") == 64
    assert PROFILES["cuda"].precision_for("recurrent_3_layer") == "float32"
    assert M4.batch_ceiling_for(None) is None


def test_a_profile_may_leave_kinds_out_and_name_kinds_from_outside(own) -> None:
    """It stays valid when the package of such a kind is removed."""
    mine = own('extends = "m4-16gb"\n[batch_ceilings]\nacme-wavenet = 48\n[precision]\nacme-wavenet = "float16"\n')
    assert (mine.batch_ceiling_for("acme-wavenet"), mine.precision_for("acme-wavenet")) == (48, "float16")
    whole = (SHIPPED_FOLDER / "m4-16gb.toml").read_text()
    few = "".join(
        line for line in whole.splitlines(keepends=True) if not line.startswith(("tcn", "attention", "finbert"))
    )
    assert own(few).batch_ceiling_for("tcn") == 32
    none = (
        few.replace("feed_forward = 64", "").replace("recurrent_1_layer = 64", "").replace("recurrent_2_layer = 32", "")
    )
    assert "[batch_ceilings] is empty; name at least one of feed_forward, " in refused(own, none)


def test_the_profile_shown_states_what_holds_for_other_kinds() -> None:
    shown = json.loads(CliRunner().invoke(profile_verb, ["show", "cuda", "--json"]).output)
    assert shown["kinds_not_named"] == {"batch": 64, "precision": "float32"}


def test_a_card_has_memory_of_its_own() -> None:
    cuda = PROFILES["cuda"].fitted(8192, 80 * 1024)
    assert cuda.limit_mib("tcn") == 0.9 * 80 * 1024
    assert cuda.limit_mib(None) == 0.8 * 8192


def test_a_profile_without_figures_takes_the_machine_s() -> None:
    fitted = PROFILES["linux-cpu"].fitted(10_000)
    assert (fitted.memory_mib, fitted.working_set_mib, fitted.limit_mib("tcn")) == (10_000, 8_000, 8_000)


def test_a_machine_with_less_memory_gets_less_of_everything() -> None:
    """A profile that is set by hand on a smaller machine must not promise memory that is not there."""
    half = M4.fitted(8192)
    assert half.working_set_mib == M4.working_set_mib / 2
    assert half.accelerator_mib == M4.accelerator_mib / 2
    assert M4.fitted(65536) == M4, "more memory than the profile's is not handed out"


def test_memory_that_could_not_be_told_leaves_figures_unknown() -> None:
    assert PROFILES["linux-cpu"].fitted(None).limit_mib(None) is None


def test_an_own_profile_extends_a_shipped_one_key_by_key(own) -> None:
    mine = own('extends = "m4-24gb"\nwords = "mine"\n[batch_ceilings]\ntcn = 48\n[governor]\nhot_c = 97\n')
    assert mine.batch_ceilings == {**PROFILES["m4-24gb"].batch_ceilings, "tcn": 48}
    assert mine.thresholds.hot_c == 97
    assert (mine.name, mine.words, mine.memory_mib) == ("mine", "mine", 24576)


def test_an_own_file_hides_the_shipped_one_and_may_extend_it(own, tmp_path: Path) -> None:
    assert own('extends = "m4-16gb"\nsequence_ceiling = 128\n', "m4-16gb").sequence_ceiling == 128
    assert profile_named("m4-24gb", tmp_path).sequence_ceiling == 128, "what extends it follows"
    assert next(iter(known_profiles(tmp_path))) == "m4-16gb"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sequence_ceiling = 0", "sequence_ceiling is 0; allowed: a whole number from 1 to 4096 steps"),
        ("sequence_ceiling = 2.5", "sequence_ceiling is 2.5; allowed"),
        ("working_set_mib = true", "working_set_mib is true; allowed: 256 to"),
        ("working_set_mib = nan", "working_set_mib is nan; allowed"),
        ('working_set_mib = "lots"', "working_set_mib is 'lots'; allowed: 256 to 4.1943e+06 MiB, or \"machine\""),
        ('devices = ["tpu"]', 'devices is the list ["tpu"]; allowed: a list of mps, cuda, cpu'),
        ("devices = []", "devices is the list []; allowed"),
        ("speed = 3", "unknown key 'speed'; allowed: extends, words"),
        ("[batch_ceilings]\nlstm = 3", "batch_ceilings.lstm is 3; allowed: only feed_forward"),
        ("[batch_ceilings]\ntcn = 0", "batch_ceilings.tcn is 0; allowed: a whole number from 1"),
        ('[precision]\ntcn = "int8"', "precision.tcn is 'int8'; allowed: float32, bfloat16, float16"),
        ("[governor]\nhot_c = 900", "[governor]: hot_c is 900"),
        ("[governor]\nhott_c = 90", "[governor]: 'hott_c' is not a threshold"),
        ("hero_sequence_ceiling = 100", "hero_sequence_ceiling is 100; it must be at least sequence_ceiling, 256"),
        ("words = 7", "words is 7; allowed: a line of text"),
        ("batch_ceilings = 7", "batch_ceilings is 7; allowed: a table"),
    ],
)
def test_a_bad_line_is_refused_with_file_key_value_and_what_is_allowed(
    own, tmp_path: Path, line: str, told: str
) -> None:
    message = refused(own, f'extends = "m4-16gb"\n{line}\n')
    assert message.startswith(str(tmp_path / "mine.toml"))
    assert told in message


def test_a_file_that_is_not_complete_says_what_is_missing(own) -> None:
    assert "'words' is missing; write it, or `extends` a profile that has it: m4-16gb" in refused(own, "")


def test_a_torn_file_is_refused(own) -> None:
    assert "cannot read the hardware profile" in refused(own, "words = ")


def test_profiles_that_extend_each_other_in_a_circle_are_refused(own, tmp_path: Path) -> None:
    (tmp_path / "yours.toml").write_text('extends = "mine"\n')
    assert "circle" in refused(own, 'extends = "yours"\n')
    assert "extends is 'nobody'; allowed: mine, yours, m4-16gb" in refused(own, 'extends = "nobody"\n')


def test_an_unknown_name_is_refused_with_the_known_ones_and_where_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'m9' is not known; allowed: m4-16gb, m4-24gb") as caught:
        profile_named("m9", tmp_path)
    assert str(tmp_path / "m9.toml") in (caught.value.hint or "")


DOC = (Path(__file__).parents[3] / "docs" / "hardware.md").read_text(encoding="utf-8")


def cells(name: str, table: int) -> list[str]:
    """The cells of the *table*-th row (0-based) of the documentation that begins with the profile's name."""
    rows = [line for line in DOC.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in rows[table].strip("|").split("|")][1:]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_documented_figures_are_the_files(name: str) -> None:
    profile = PROFILES[name]
    _, memory, working, card, precision, devices = cells(name, 0)
    if profile.memory_mib is not None:
        told = [f"{mib:.0f} MiB" for mib in (profile.memory_mib, profile.working_set_mib, profile.accelerator_mib)]
        assert [memory, working, card] == told
    else:
        assert (memory, working) == ("the machine's", f"{profile.working_set_share:g} of it")
    assert (devices, {precision}) == (", ".join(profile.devices), set(profile.precision.values()))
    *ceilings, sequence = cells(name, 1)
    assert ceilings == [str(profile.batch_ceilings[kind]) for kind in BATCH_KINDS]
    assert sequence == f"{profile.sequence_ceiling} ({profile.hero_sequence_ceiling})"


def test_the_documented_example_is_a_profile(own) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOC, flags=re.DOTALL)
    assert own(example).working_set_mib == 14000
