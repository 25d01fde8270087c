# One image for both sides: `python -m tenantry_operator`, `python -m tenantry_server`, and the command.
# Built with all that a model server loads; add what your own models import: see docs/kubernetes.md.
# `make image` and releases name the base by the digest that this tag has then, and the image's labels say which.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY pyproject.toml requirements.lock constraints.txt README.md LICENSE ./
COPY core ./core
COPY operator ./operator
COPY modelserver ./modelserver
COPY cli ./cli
COPY integrations ./integrations
# The lock names what tenantry[all] needs, with hashes; the constraints name what builds the wheel.
RUN python -m venv /opt/tenantry \
    && /opt/tenantry/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock \
    && PIP_CONSTRAINT=constraints.txt /opt/tenantry/bin/pip install --no-cache-dir --no-deps .

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG REVISION=unknown
LABEL org.opencontainers.image.title=tenantry \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.base.name=${PYTHON_IMAGE} \
      org.opencontainers.image.revision=${REVISION}
COPY --from=build /opt/tenantry /opt/tenantry
# One process is meant to fill one core: without these, each would start a thread for every core of its node.
ENV PATH=/opt/tenantry/bin:$PATH \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /tmp
CMD ["tenantry", "--help"]
