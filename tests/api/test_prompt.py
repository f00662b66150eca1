import json

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from semantic_service.api.schemas import BatchRequest, ClassifyRequest
from tests.strategies import any_text

POST, BATCH = TypeAdapter(ClassifyRequest), TypeAdapter(BatchRequest)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | any_text | st.lists(any_text, max_size=2)
FIELDS = st.lists(st.tuples(st.sampled_from(["text", "text", "scene", "data_id", "other"]), VALUES | any_text), max_size=4)


def write(fields, is_ascii):
    """Write an object, its fields as often as they are given."""
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=is_ascii)}" for name, value in fields) + "}"


def check(model, body):
    """What is parsed and checked in one step is what would have been in two."""
    try:
        read = model.validate_json(body)
    except ValidationError:
        return  # the two steps follow, and say what is wrong
    assert read == model.validate_python(json.loads(body))


@example(fields=[("text", "好"), ("text", "赌"), ("scene", "kids")], is_ascii=False)
@given(fields=FIELDS, is_ascii=st.booleans())
def test_a_post_means_the_same_in_one_step_and_in_two(fields, is_ascii):
    check(POST, write(fields, is_ascii).encode("utf-8", "surrogatepass"))


@example(items=[[("text", "好")], [("text", 7)], []], is_ascii=True)
@given(items=st.lists(FIELDS, max_size=3), is_ascii=st.booleans())
def test_a_batch_means_the_same_in_one_step_and_in_two(items, is_ascii):
    check(BATCH, f'{{"items": [{", ".join(write(fields, is_ascii) for fields in items)}]}}'.encode("utf-8", "surrogatepass"))
