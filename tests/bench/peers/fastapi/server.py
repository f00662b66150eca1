"""FastAPI tuned for a processor: plain functions on its threads, one shared session of one thread, no batching."""

from fastapi import FastAPI
from pydantic import BaseModel

from tests.bench.peers.same_model import SameModel, Verdict

model = SameModel(threads=1)
app = FastAPI()


class Post(BaseModel):
    """What is to be judged."""

    text: str


@app.post("/classify")
def classify(post: Post) -> Verdict:
    """Judge one text."""
    return model.judge([post.text])[0]
