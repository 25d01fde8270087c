# One image for both sides: `python -m tenantry_operator`, `python -m tenantry_server`, and the command.
# Built with all that a model server loads; add what your own models import: see docs/kubernetes.md.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY core ./core
COPY operator ./operator
COPY modelserver ./modelserver
COPY cli ./cli
COPY integrations ./integrations
RUN python -m venv /opt/tenantry \
    && /opt/tenantry/bin/pip install --no-cache-dir --constraint constraints.txt '.[all]'

FROM python:3.11-slim-bookworm
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
