"""Tables and plans: the paper's rows, names of metrics, how presets are scaled, and what is refused."""

import pytest

from stylegan.cli.configuring import configure
from stylegan.config.overrides import parse_overrides
from stylegan.config.presets import PRESETS, preset
from stylegan.data import Dataset
from stylegan.errors import UserError
from stylegan.metrics import parse_metric
from stylegan.studies import make_plan
from stylegan.studies.jobs import Job, as_arguments
from stylegan.studies.plan import scaled, varied
from stylegan.studies.tables import TABLES, columns, pick_runs


@pytest.mark.parametrize("name", TABLES)
def test_every_row_has_its_preset_and_the_papers_numbers(name):
    table = TABLES[name]
    keys = {row.key for row in table.rows}
    assert {row.preset for row in table.rows} == {p for p in PRESETS if p.startswith(name)}
    for numbers in table.paper.values():
        assert numbers.keys() == keys
        wanted = {column.paper_key for column in columns(table)}
        assert all(row.keys() == wanted for row in numbers.values())


def test_every_metric_of_every_row_exists():
    for table in TABLES.values():
        for row in table.rows:
            for column in columns(table):
                assert parse_metric(column.metric(row)).name == column.metric(row)


def test_rows_of_table_4_are_measured_in_their_own_space():
    table = TABLES["table4"]
    by_key = {row.key: row for row in table.rows}
    full, end, separability = columns(table, "ppl2k_full,ppl2k_end,ls1k")
    assert full.metric(by_key["traditional8-z"]) == "ppl2k_z_full"
    assert end.metric(by_key["traditional8-w"]) == "ppl2k_w_end"
    assert separability.metric(by_key["style0-z"]) == "ls1k_z"
    assert columns(table, "ppl_z_full")[0].metric(by_key["style8-w"]) == "ppl_z_full"


def test_table_2_is_measured_with_1_to_4_latents():
    found = columns(TABLES["table2"], "fid10k,ppl_w_end")
    assert [column.name for column in found] == ["fid10k", "fid10k_mix2", "fid10k_mix3", "fid10k_mix4", "ppl_w_end"]
    assert [column.name for column in columns(TABLES["table2"], "fid10k_mix3")] == ["fid10k_mix3"]
    assert [c.title for c in columns(TABLES["table1"], "pr1k3")] == ["pr1k3 precision", "pr1k3 recall"]
    with pytest.raises(UserError, match="no such metric"):
        columns(TABLES["table1"], "fud10k")
    with pytest.raises(UserError, match="have no classes"):
        columns(TABLES["table1"], "recognition1k")


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("table")])
def test_at_the_papers_size_and_length_scaling_is_the_preset(name):
    """1024x1024 and 25,000 kimg give back the published schedule and R1 weight."""
    diff = scaled(name, (1024, 1024), 25_000)
    published, found = preset(name), preset(name, changes=diff)
    for field in ("total_kimg", "initial_resolution", "stable_kimg", "fade_kimg", "batch_by_resolution", "lr"):
        assert getattr(found.schedule, field) == pytest.approx(getattr(published.schedule, field)), field
    assert found.loss == published.loss
    assert found.training.ema_kimg == published.training.ema_kimg
    assert found.generator == published.generator


@pytest.mark.parametrize("side", [16, 64, 256])
@pytest.mark.parametrize("name", ["table1-a", "table1-f"])
def test_scaled_growing_takes_the_papers_share(name, side):
    schedule = preset(name, side, changes=scaled(name, (side, side), 100.0)).schedule
    steps = (side // schedule.initial_resolution).bit_length() - 1
    share = steps * (schedule.stable_kimg + schedule.fade_kimg) / schedule.total_kimg
    assert share == pytest.approx(0.8 if name == "table1-a" else 0.336, rel=1e-4)
    assert schedule.total_kimg == pytest.approx(48 if name == "table1-a" else 100)


def test_what_a_study_compares_cannot_be_set_for_all(plan_of):
    assert "loss.mixing" in varied(TABLES["table2"])
    assert varied(TABLES["table2"]) == {"loss.mixing"}
    with pytest.raises(UserError, match=r"--loss.mixing: is what table2 compares"):
        plan_of("table2", changes={"loss": {"mixing": 0.5}})
    with pytest.raises(UserError, match="use --gamma"):
        plan_of(changes={"loss": {"r1_gamma": 5}})
    with pytest.raises(UserError, match=r"--training.seed"):
        plan_of(changes={"training": {"seed": 5}})
    assert plan_of(gamma=3.5).config("F", 0).loss.r1_gamma == 3.5
    assert plan_of(gamma=3.5).config("A", 0).loss.r1_gamma == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kimg": 0}, "--kimg 0"),
        ({"seeds": (0, 0)}, "each seed once"),
        ({"runs": "A,G"}, "has the configurations A, B, C, D, E, F"),
        ({"resolution": (32, 32)}, "the data set has the sizes"),
        ({"metrics": "nope"}, "no such metric"),
        ({"table": "table3"}, "must be one of table1, table2, table4"),
        ({"width": 0}, "--width 0"),
    ],
)
def test_bad_plans(plan_of, settings, words):
    with pytest.raises(UserError, match=words):
        plan_of(**settings)


def test_width_scales_all_networks(plan_of):
    for run in ("A", "C", "F"):
        config = plan_of(width=16).config(run, 7)
        assert (config.generator.fmap_base, config.generator.fmap_max) == (256, 16)
        assert (config.discriminator.fmap_base, config.discriminator.fmap_max) == (256, 16)
        assert (config.generator.z_dim, config.generator.w_dim) == (16, 16)
        assert config.training.seed == 7
    assert plan_of("table4", width=16, metrics="ppl9_full").config("style0", 0).generator.mapping_layers == 0


def test_separability_is_left_out_without_attributes(plan_of, data):
    assert any(column.kind == "ls" for column in plan_of("table4", metrics="").columns)
    without = Dataset.open(data)
    without.num_classes = 0
    plan = make_plan("table4", without, data.parent / "none", 1.0)
    assert [column.name for column in plan.columns] == ["fid50k", "ppl_full", "ppl_end"]


@pytest.mark.parametrize("run", ["A", "F"])
def test_the_training_command_is_the_configuration(plan_of, run, tmp_path):
    """What `stylegan train` makes of its arguments is the plan's configuration, to the last field."""
    plan = plan_of(width=16, changes={"schedule": {"batch_by_resolution": {8: 16}}})
    words = Job(plan, run, 3).train_command("cpu")
    extra = words[words.index("16") + 1 :]
    made = configure(
        plan.data, tmp_path / "none", plan.table.runs[run].preset, parse_overrides(extra), resolution="16", labels=False
    ).config
    wanted = plan.config(run, 3)
    ours, theirs = wanted.model_dump(), made.model_dump()
    ours["data"]["path"] = theirs["data"]["path"]
    assert ours == theirs


def test_arguments_survive_the_command_line():
    diff = {"schedule": {"batch_by_resolution": {"8": 4}, "lr": 0.5, "grow": False}, "training": {"precision": "bf16"}}
    assert parse_overrides(as_arguments(diff)) == diff


def test_a_folder_holds_one_study(plan_of):
    plan = plan_of(runs="A,B")
    plan.out.mkdir()
    plan.store()
    more = plan_of(runs="F", seeds=(4,))
    more.store()
    assert more.all_measured() == (["A", "B", "F"], [0, 4])
    with pytest.raises(UserError, match=r"holds another study: kimg was 2\.0 and is now 3\.0"):
        plan_of(kimg=3.0).store()
    with pytest.raises(UserError, match="table was 'table1'"):
        plan_of("table2").store()


def test_names_of_configurations():
    assert pick_runs(TABLES["table1"], "f,A") == ["A", "F"]
    assert pick_runs(TABLES["table2"], None) == ["0", "50", "90", "100"]
    assert pick_runs(TABLES["table4"], "Style8") == ["style8"]
