"""Which text of a config's files is learnt, and which is held out."""

import json

import pytest

from training.config import TrainConfig
from training.sets import read_sets

LABELS = ("compliant", "suspicious", "violation")


def texts(first, count):
    """Give texts of which none is near another: each has eight characters of its own, from `first` on."""
    return ["".join(chr(ord(first) + 8 * number + place) for place in range(8)) for number in range(count)]


@pytest.fixture
def config(tmp_path):
    """Give a config loader for files of our own, of `early` and of `late`, who share a text; of `late` all rows come in pairs."""

    def write(name, some):
        rows = [{"text": text, "label": LABELS[index % 3]} for index, text in enumerate(some)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(tmp_path / name)

    pairs = [f"{text}{end}" for text in texts("一", 60) for end in "吧吗"]
    early = write("early.jsonl", ["两边都有的一句话", *texts("怀", 30)])
    late = write("late.jsonl", ["两边都有的一句话", *pairs])
    own = write("own.jsonl", texts("瀀", 30))
    values = {
        "data": {
            "train": [early, late, own],
            "sources": {"early": [early], "late": [late]},
            "validation": {own: 0.3, late: 0.2},
        }
    }
    (tmp_path / "c.yaml").write_text(json.dumps(values), "utf-8")
    return lambda *overrides: TrainConfig.load(tmp_path / "c.yaml", overrides)


def test_a_text_of_two_sources_is_the_last_ones(config):
    sets = read_sets(config())
    (shared,) = [example for example in (*sets.train, *sets.validation) if example.text == "两边都有的一句话"]
    assert shared.source == "late"
    assert sets.left_out == 1


def test_pairs_are_held_out_whole(config):
    sets = read_sets(config())
    sides = [
        {example.text[:-1] for example in rows if example.source == "late" and len(example.text) > 8}
        for rows in (sets.train, sets.validation)
    ]
    assert min(map(len, sides)) > 5
    assert not sides[0] & sides[1]


def test_a_file_for_validation_alone_may_be_a_sources(config, tmp_path):
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text(json.dumps({"text": "另外留出的一句", "label": "violation"}) + "\n", "utf-8")
    late = config().data.sources["late"][0]
    sets = read_sets(config(f"data.sources={{late: [{late}, {held_out}]}}", f"data.validation={{{held_out}: 1}}"))
    assert {example.source for example in sets.validation if example.file == str(held_out)} == {"late"}
