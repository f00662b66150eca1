# The scoring process with the embedded model. Keys are needed to listen outside the container:
#   docker build -t moderation . && docker run -p 8000:8000 -v ./keys.toml:/keys.toml:ro -e MODERATION_KEYS=/keys.toml moderation
FROM python:3.11-slim
WORKDIR /app
COPY requirements/serve.txt requirements/serve.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/serve.txt
COPY semantic_service semantic_service
COPY LICENSE NOTICE ./
RUN useradd --system moderation && install -d -o moderation -m 700 var
USER moderation
VOLUME /app/var
ENV MODERATION_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
CMD ["python", "-m", "semantic_service"]
