# syntax=docker/dockerfile:1
# One image a service: docker build --build-arg SERVICE=cache -t hasten/cache .
# Embedding by sentence-transformers: --build-arg SERVICE=embedding --build-arg WITH=embedding-torch
# and --build-arg PIP_EXTRA_INDEX_URL=, the index that has torch for CPUs.
ARG SERVICE
ARG WITH=${SERVICE}

# What builds; nothing of it is in an image but what is copied out.
FROM python:3.11.14-slim-bookworm AS tools
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

FROM tools AS wheel
COPY requirements/build.txt requirements/build.txt
RUN pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY libs libs
COPY services services
COPY cli cli
COPY gen gen
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheel .

FROM tools AS installed
ARG WITH
ARG PIP_EXTRA_INDEX_URL=
COPY requirements/${WITH}.txt requirements.txt
RUN python -m venv --without-pip /app \
 && pip --python /app/bin/python install --require-hashes --only-binary :all: -r requirements.txt
COPY --from=wheel /wheel /wheel
RUN pip --python /app/bin/python install --no-deps --no-index /wheel/*.whl

# The encoder's graphs, from the published weights; their sum is checked by the builder.
FROM tools AS model
COPY requirements/model.txt requirements.txt
RUN pip install --require-hashes --only-binary :all: -r requirements.txt
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps --no-index /wheel/*.whl \
 && python -m services.embedding.build --out /model

FROM python:3.11.14-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --no-create-home hasten
COPY --from=installed /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python"]

FROM runtime AS cache
CMD ["-m", "services.cache"]
FROM runtime AS edge
CMD ["-m", "services.edge"]
FROM runtime AS generation
CMD ["-m", "services.generation"]
# Its workers are the same image with -m services.jobs.worker.
FROM runtime AS jobs
CMD ["-m", "services.jobs"]
FROM runtime AS orchestrator
CMD ["-m", "services.orchestrator"]
FROM runtime AS retrieval
CMD ["-m", "services.retrieval"]
FROM runtime AS traces
CMD ["-m", "services.traces"]
FROM runtime AS embedding
COPY --from=model /model /model
ENV EMBEDDING_MODEL_DIR=/model
CMD ["-m", "services.embedding"]

# hadolint ignore=DL3006
FROM ${SERVICE}
