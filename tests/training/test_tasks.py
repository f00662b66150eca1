import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantic_service.contract.labels import Label
from semantic_service.contract.tasks import Task
from tests.strategies import any_text
from training.config import TrainConfig
from training.dataset import Columns, Example, deduplicate, digest, read_benign, read_examples
from training.doctor import examine
from training.errors import ConfigError, DataError
from training.tasks import require_every_label, task_labels

CATEGORY = Task("category", ("none", "abuse", "advert"))
TOPIC = Task("topic", ("games", "sports"))
COLUMNS = Columns(tasks=(CATEGORY, TOPIC))
known = st.fixed_dictionaries(
    {}, optional={"category": st.sampled_from((*CATEGORY.labels, None, "")), "topic": st.sampled_from((*TOPIC.labels, None, ""))}
)
examples = st.lists(
    st.builds(
        Example,
        st.text("赌博好", min_size=1, max_size=2),
        st.sampled_from((*Label, None)),
        st.just("f"),
        st.integers(1, 9),
        st.fixed_dictionaries({}, optional={"category": st.sampled_from(CATEGORY.labels)}),
    )
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks")


def jsonl(folder, *rows):
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def config(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text("data: {train: [posts.jsonl]}\n" + content, encoding="utf-8")
    return TrainConfig.load(path)


@given(labels=known, in_columns=st.booleans(), severity=st.sampled_from((*Label, None, "")))
def test_a_row_has_the_labels_that_it_gives_and_lacks_the_others(labels, in_columns, severity, scratch):
    row = {"text": "好", "label": severity, **(labels if in_columns else {"labels": labels})}
    given_labels = {task: label for task, label in labels.items() if label}
    path = jsonl(scratch, row)
    if severity in (None, "") and not given_labels:
        with pytest.raises(DataError, match=r"posts\.jsonl:1: (no|unknown) label"):
            read_examples([path], COLUMNS)
    else:
        (example,) = read_examples([path], COLUMNS)
        assert (example.label, example.tasks) == (None if severity == "" else severity, given_labels)


@settings(max_examples=50)
@given(value=any_text | st.integers() | st.lists(st.text(), max_size=2) | st.sampled_from(CATEGORY.labels), in_columns=st.booleans())
def test_whatever_a_row_gives_is_one_of_the_labels_or_none_or_is_refused(value, in_columns):
    row = {"category": value} if in_columns else {"labels": {"category": value}}
    try:
        found = task_labels(row, [CATEGORY])
    except DataError:
        assert str(value).strip().lower() not in CATEGORY.labels
    else:
        assert found.get("category") in CATEGORY.labels or value == ""


@pytest.mark.parametrize("labels", [{"category": " Abuse "}, {"category": "ABUSE", "other": "x"}])
def test_case_and_space_do_not_matter_nor_do_tasks_that_are_not_trained(labels):
    assert task_labels({"labels": labels}, [CATEGORY]) == {"category": "abuse"}


def test_a_table_has_a_column_for_each_task(tmp_path):
    path = tmp_path / "posts.tsv"
    path.write_text("text\tlabel\tcategory\n一\t2\tabuse\n二\t\tadvert\n三\t0\t\n", encoding="utf-8")
    assert [(row.label, row.tasks) for row in read_examples([path], COLUMNS)] == [
        (Label.VIOLATION, {"category": "abuse"}),
        (None, {"category": "advert"}),
        (Label.COMPLIANT, {}),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": 2, "category": "gambling"}, "unknown label 'gambling' of task category: use one of none, abuse, advert"),
        ({"label": 2, "category": "spam"}, "unknown label 'spam' of task category: use one of none, abuse, advert"),
        ({"label": 2, "labels": {"topic": "这是一条帖子"}}, "unknown label of task topic: use one of games, sports"),
        ({"label": 2, "labels": "abuse"}, "labels must be an object of tasks and their labels"),
        ({"label": "spam", "category": "abuse"}, "unknown label 'spam'"),
        ({"labels": {"other": "x"}}, "no label"),
        ({}, "no label"),
    ],
)
def test_an_unusable_label_is_refused_with_file_line_and_reason(row, reason, tmp_path):
    path = jsonl(tmp_path, {"text": "好", "label": 0}, {"text": "好", **row})
    with pytest.raises(DataError) as refusal:
        read_examples([path], COLUMNS)
    assert str(refusal.value).startswith(f"{path}:2: {reason}")
    (report,) = examine([path], COLUMNS).files
    assert [flaw.line for flaw in report.broken] == [2]


def test_without_tasks_a_row_needs_its_severity_and_their_columns_mean_nothing(tmp_path):
    path = jsonl(tmp_path, {"text": "好", "label": 0, "category": "whatever", "labels": 3})
    assert read_examples([path])[0].tasks == {}
    with pytest.raises(DataError, match="no label"):
        read_examples([jsonl(tmp_path, {"text": "好", "category": "abuse"})])


def test_benign_texts_have_no_further_labels(tmp_path):
    (example,) = read_benign([jsonl(tmp_path, {"text": "好", "category": "spam"})], COLUMNS)
    assert (example.label, example.tasks) == (Label.COMPLIANT, {})


@given(examples)
def test_copies_of_a_text_join_their_labels_by_majority(some):
    kept = deduplicate(some)
    assert deduplicate(kept) == kept
    for example in kept:
        labels = Counter(copy.tasks["category"] for copy in some if copy.text == example.text and copy.tasks)
        assert ("category" in example.tasks) == bool(labels)
        assert not labels or labels[example.tasks["category"]] == max(labels.values())
        assert (example.label is None) == all(copy.label is None for copy in some if copy.text == example.text)


def test_one_file_may_hold_the_severity_and_another_the_category():
    [joined] = deduplicate([Example("滚", None, "b", 1, {"category": "abuse"}), Example("滚", Label.VIOLATION, "a", 1)])
    assert (joined.label, joined.tasks, joined.file) == (Label.VIOLATION, {"category": "abuse"}, "a")


@given(examples, examples)
def test_a_digest_tells_any_other_labels_of_any_task(some, others):
    def said(rows):
        return Counter((row.text, row.label, *row.tasks.items()) for row in rows)

    assert (digest(some) == digest(others)) is (said(some) == said(others))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{}, {}], "train has no row with a label of task category: add a column category, or take it out of tasks"),
        (
            [{"category": "none"}, {"category": "advert"}],
            "no training row has category abuse: add some, or take the label out of tasks.category",
        ),
    ],
)
def test_a_task_or_label_without_a_row_is_refused(rows, reason):
    with pytest.raises(DataError) as refusal:
        require_every_label(rows, [CATEGORY])
    assert str(refusal.value) == reason


def test_a_task_whose_labels_all_stand_somewhere_is_fine():
    require_every_label([{"category": label} for label in CATEGORY.labels], [CATEGORY])


def test_the_doctor_counts_the_labels_of_each_task_and_finds_what_is_missing_or_contradicts(tmp_path):
    rows = [{"text": label.chinese, "label": label.english} for label in Label]
    rows += [{"text": "滚", "category": "abuse"}, {"text": "滚", "label": 2}]  # they complete each other
    rows += [{"text": "来", "category": "none"}, {"text": "来", "category": "abuse"}]
    path = jsonl(tmp_path, *rows)
    diagnosis = examine([path], Columns(tasks=(CATEGORY,)))
    assert diagnosis.tasks == {"category": {"none": 1, "abuse": 2, "advert": 0}}
    assert [problem.partition(":")[0] for problem in diagnosis.problems] == ["no row is category advert", "texts with several labels"]
    assert f"1 ({path}:6 none = {path}:7 abuse)" in diagnosis.problems[1]
    assert json.loads(json.dumps(diagnosis.as_dict()))["tasks"] == diagnosis.tasks


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("task_type: multi_cls", "task_type multi_cls needs tasks"),
        ("tasks: {category: [none, abuse]}", "tasks are for task_type: multi_cls"),
        ("task_type: multi_cls\ntasks: {severity: [none, abuse]}", "no further task can be called severity"),
        ("task_type: multi_cls\ntasks: {category: [none]}", "must have 2 to 64 labels, got 1"),
        ("task_type: multi_cls\ntasks: {category: [none, none]}", "a label stands twice"),
        ("task_type: multi_cls\ntasks: {category: [none, Abuse]}", "'Abuse' must be a lower-case word"),
        ("task_type: multi_cls\ntasks: {text: [none, abuse]}", "tasks.text: a row's text is something else"),
        ("task_type: many", "task_type: Input should be 'single_cls' or 'multi_cls'"),
    ],
)
def test_tasks_that_can_not_be_trained_are_refused(content, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason):
        config(tmp_path, content)


def test_the_tasks_of_a_config_keep_their_order(tmp_path):
    tasks = config(tmp_path, "task_type: multi_cls\ntasks: {topic: [games, sports], category: [none, abuse, advert]}").further_tasks
    assert tasks == (TOPIC, CATEGORY)
