"""A project on a Label Studio server, by its SDK; nothing else imports that. Whatever it answers, our own errors say what to do."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError
from label_studio_sdk.core.request_options import RequestOptions

from annotation.errors import ProjectGoneError, RefusedError, ServerFailedError, StudioError, TokenError, TooManyError, UnreachableError
from annotation.interface import labelling_config
from annotation.settings import SECRET_HEADER, Settings
from annotation.tasks import PREDICTED_BY, Placed, Task

TIMEOUT_S = 60.0
PAGE_TASKS = 1000
PAGE_ANSWERED = 200
WEBHOOK_ACTIONS = ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"]
ONCE = RequestOptions(max_retries=0)  # the SDK repeats POSTs too, and a repeated import doubles tasks

_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"  # Label Studio's filters take no other
_FAILED, _BUSY = 500, 429


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks there are, and how many of them have all the answers they need."""

    tasks: int
    finished: int


class Studio:
    """A project. Reading is repeated twice by the SDK on 429 and 5xx, writing never."""

    def __init__(self, client: LabelStudio, url: str, project: int) -> None:
        self._client = client
        self._url = url
        self.project = project

    @classmethod
    @contextmanager
    def find(cls, settings: Settings) -> Iterator[Self]:
        """Find the project by its title, the oldest if several have it; connected until the block ends.

        Raises:
            ProjectGoneError: there is none.
            StudioError: Label Studio can't be asked.

        """
        with _connected(settings) as client:
            with _in_words(settings.url):
                found = _projects(client, settings.project)
            if not found:
                raise ProjectGoneError(f"{settings.url} has no project {settings.project!r}: `python -m annotation init` makes it")
            yield cls(client, settings.url, min(found))

    @classmethod
    @contextmanager
    def init(cls, settings: Settings) -> Iterator[Self]:
        """Find the project and bring its labelling interface up to date, or make it; connected until the block ends.

        Raises:
            StudioError: Label Studio can't be asked, or refuses.

        """
        with _connected(settings) as client:
            with _in_words(settings.url):
                found = _projects(client, settings.project)
                project: Any = client.projects.get(min(found)) if found else _create(client, settings.project)
                if project.label_config != labelling_config():
                    client.projects.update(project.id, label_config=labelling_config(), request_options=ONCE)
            yield cls(client, settings.url, project.id)

    @property
    def page(self) -> str:
        """The project's address for people."""
        return f"{self._url.rstrip('/')}/projects/{self.project}"

    def counts(self) -> Counts:
        """Count tasks."""
        with _in_words(self._url):
            project = self._client.projects.get(self.project)
        return Counts(project.task_number or 0, project.finished_task_number or 0)

    def tasks(self, after: int = 0) -> Iterator[Placed]:
        """Give each task of ours with an id above `after`, by id."""
        for task in self._list(after, PAGE_TASKS, fields="task_only", include="id,data,overlap,total_annotations,cancelled_annotations"):
            if "ext_id" in task.data:
                annotations = (task.total_annotations or 0) + (task.cancelled_annotations or 0)
                yield Placed(task.id, task.data["ext_id"], annotations, task.overlap or 1, task.data.get("annotators", 1))

    def answered(self, since: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Give each task that has annotations and changed after `since` (ISO 8601), with its annotations; by id."""
        filters = [_filter("tasks:total_annotations", "greater", "Number", 0)]
        if since is not None:
            moment = f"{since.removesuffix('+00:00')}Z"
            filters.append(_filter("tasks:updated_at", "greater", "Datetime", moment))
        for task in self._list(0, PAGE_ANSWERED, *filters, fields="all"):
            yield {"id": task.id, "data": task.data, "updated_at": task.updated_at, "annotations": task.annotations}

    def _list(self, after: int, size: int, *filters: Mapping[str, Any], **asked: str) -> Iterator[Any]:
        """List tasks by id. A page begins after the last one's last id, so that nothing is skipped when tasks come and go meanwhile."""
        while True:
            items = [_filter("tasks:id", "greater", "Number", after), *filters]
            query = json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]})
            with _in_words(self._url):
                page: list[Any] = list(
                    self._client.tasks.list(project=self.project, page=1, page_size=size, query=query, **asked).items or ()
                )
            if not page:
                return
            yield from page
            after = page[-1].id

    def add(self, tasks: Sequence[Task]) -> None:
        """Import tasks: all of them or, if it fails, none. When nobody answers they may be there all the same."""
        with _in_words(self._url):
            request: Any = list(tasks)  # the SDK takes its models too, and plain JSON
            self._client.projects.import_tasks(self.project, request=request, request_options=ONCE)

    def remove(self, task: int) -> None:
        """Delete a task, if it is there."""
        with _in_words(self._url):
            try:
                self._client.tasks.delete(str(task), request_options=ONCE)
            except ApiError as error:
                if error.status_code != httpx.codes.NOT_FOUND:
                    raise

    def ask(self, task: int, annotators: int) -> None:
        """Have a task answered by so many people; an import can't say it."""
        with _in_words(self._url):
            self._client.tasks.update(str(task), overlap=annotators, request_options=ONCE)

    def rank_by_score(self) -> None:
        """Have the least sure tasks served first; Label Studio takes this only once there are predictions."""
        with _in_words(self._url):
            if not self._client.projects.get(self.project).model_version:
                self._client.projects.update(self.project, model_version=PREDICTED_BY, request_options=ONCE)

    def annotators(self) -> dict[int, str]:
        """Give each user's e-mail address by id."""
        with _in_words(self._url):
            return {user.id: user.email for user in self._client.users.list()}

    def connect_webhook(self, url: str, secret: str) -> None:
        """Have Label Studio call `url` with the secret whenever somebody answered."""
        call = {"url": url, "project": self.project, "actions": WEBHOOK_ACTIONS, "send_for_all_actions": False}
        with _in_words(self._url):
            for hook in self._client.webhooks.list(project=str(self.project)):
                if hook.url == url:
                    self._client.webhooks.delete(hook.id, request_options=ONCE)
            self._client.webhooks.create(**call, headers={SECRET_HEADER: secret}, request_options=ONCE)


@contextmanager
def _connected(settings: Settings) -> Iterator[LabelStudio]:
    if settings.token is None:
        raise TokenError(f"no token: copy one from {settings.url.rstrip('/')}/user/account into ANNOTATION_TOKEN (legacy or personal)")
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as http:
        with _in_words(settings.url):
            url = f"{settings.url.rstrip('/')}/"
            client = LabelStudio(base_url=url, api_key=settings.token.get_secret_value(), httpx_client=http)
        yield client


def _projects(client: LabelStudio, title: str) -> list[int]:
    projects: Iterable[Any] = client.projects.list(title=title, page_size=100)
    return [project.id for project in projects if project.title == title]


def _create(client: LabelStudio, title: str) -> Any:
    """Make the project. What can be changed in its settings later is set here only, so that `init` undoes nobody's choice."""
    return client.projects.create(
        title=title,
        label_config=labelling_config(),
        sampling="Uncertainty sampling",
        show_collab_predictions=False,  # the guess is shown, not filled in
        show_skip_button=False,  # "can't tell" is an answer
        maximum_annotations=1,  # a task's own number is set by `ask`
        request_options=ONCE,
    )


def _filter(column: str, operator: str, kind: str, value: object) -> dict[str, object]:
    return {"filter": f"filter:{column}", "operator": operator, "type": kind, "value": value}


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """Turn what the SDK raises into an error that says what to do.

    Raises:
        StudioError: anything went wrong.

    """
    try:
        yield
    except httpx.TimeoutException as error:
        raise UnreachableError(f"{url} did not answer in time: is Label Studio overloaded?") from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise UnreachableError(f"{url} can't be reached ({error}): is Label Studio running, and ANNOTATION_URL right?") from error
    except ApiError as error:
        raise _refusal(url, error) from error
    except (ParsingError, ValueError, TypeError, AttributeError) as error:  # no JSON, or not the JSON that the SDK expects
        raise RefusedError(f"{url} gave an answer that is not Label Studio's: is ANNOTATION_URL right?") from error


def _refusal(url: str, error: ApiError) -> StudioError:
    status = error.status_code or 0
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return TokenError(f"{url} does not take the token ({status}): copy one from {url.rstrip('/')}/user/account into ANNOTATION_TOKEN")
    if status == httpx.codes.NOT_FOUND:
        return ProjectGoneError(f"{url} does not have the project any more (404): `python -m annotation init` makes it anew")
    if status == _BUSY:
        return TooManyError(f"{url} asks for fewer requests (429): wait, or push less at once")
    if status >= _FAILED:
        return ServerFailedError(f"{url} failed ({status}): its own log says why")
    return RefusedError(f"{url} refused ({status}): {str(error.body)[:300]}")
