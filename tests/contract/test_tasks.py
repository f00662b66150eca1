import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantic_service.contract.tasks import MAX_LABELS, Task, TaskVerdict

words = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)


@given(words.filter(lambda name: name != "severity"), st.lists(words, min_size=2, max_size=MAX_LABELS, unique=True))
def test_lower_case_words_name_a_task_and_its_labels(name, labels):
    assert Task(name, tuple(labels)).labels == tuple(labels)


@pytest.mark.parametrize("name", ["", "Category", "a b", "1st", "类别", "a" * 33, "cate-gory", "category\n", None, 3])
def test_another_name_is_refused_for_a_task_and_for_a_label(name):
    for arguments in ((name, ("none", "abuse")), ("category", ("none", name))):
        with pytest.raises(ValueError, match="must be a lower-case word"):
            Task(*arguments)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ((), "must have 2 to 64 labels, got 0"),
        (("none",), "must have 2 to 64 labels, got 1"),
        (tuple(f"c{number}" for number in range(65)), "must have 2 to 64 labels, got 65"),
        (("none", "abuse", "none"), "a label stands twice in none, abuse, none"),
    ],
)
def test_too_few_too_many_or_doubled_labels_are_refused(labels, reason):
    with pytest.raises(ValueError, match=f"task category: {reason}"):
        Task("category", labels)


def test_no_further_task_is_the_severity():
    with pytest.raises(ValueError, match="no further task can be called severity"):
        Task("severity", ("none", "abuse"))


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Task("category", ("none", "abuse"), temperature)


def test_a_verdict_names_the_likeliest_label_and_the_first_of_equals():
    task = Task("category", ("none", "abuse", "porn"))
    assert [
        (verdict.label, verdict.confidence) for verdict in (TaskVerdict(task, (0.2, 0.7, 0.1)), TaskVerdict(task, (0.2, 0.4, 0.4)))
    ] == [
        ("abuse", 0.7),
        ("abuse", 0.4),
    ]
