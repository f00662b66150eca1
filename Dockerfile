# Two images: the scoring process with the embedded model, and the annotation loop.
#   docker build --target service -t moderation . && docker run -p 8000:8000 -v ./keys.toml:/keys.toml:ro -e MODERATION_KEYS=/keys.toml moderation
# deploy/compose.yaml runs both beside PostgreSQL and Label Studio. Keys are needed to listen outside the container.
FROM python:3.11-slim AS python
WORKDIR /app
RUN useradd --system --create-home moderation && mkdir -p /var/moderation /var/annotation && chown moderation /var/moderation /var/annotation
COPY LICENSE NOTICE ./

FROM python AS annotation
COPY requirements/annotation.txt requirements/annotation.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/annotation.txt
COPY semantic_service semantic_service
COPY annotation annotation
USER moderation
EXPOSE 8090
ENTRYPOINT ["python", "-m", "annotation"]
CMD ["sync"]

FROM python AS service
COPY requirements/serve.txt requirements/serve.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/serve.txt
COPY semantic_service semantic_service
USER moderation
ENV MODERATION_HOST=0.0.0.0 MODERATION_DATABASE_URL=sqlite:////var/moderation/moderation.db MODERATION_SPILL_FILE=/var/moderation/spill.jsonl
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
CMD ["python", "-m", "semantic_service"]
