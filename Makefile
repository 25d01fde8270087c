# Two commands: `make demo` shows the product, `make test` runs every check. Both set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
# What is compiled is kept, also where containers have that switched off: else each process compiles it all.
unexport PYTHONDONTWRITEBYTECODE
# uv does in three seconds what takes pip a minute. It does not read pip.conf: where that names the only index
# that can be reached, pip does it. Neither compiles: all of pandas, scikit-learn and SciPy would take 30 s.
UV := uv==0.13.9
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt $(1) || \
	{ $(PIP) install --quiet 'pip>=25.1' && $(PIP) install --quiet --no-compile --constraint constraints.txt $(1); }
# One more than there are cores, as each waits for a third of the time; at most four. Each runs whole files.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')

.PHONY: help demo test lint types imports prose unit coverage docs lock sbom install envtest image charts formats bench bench-batch bench-isolation bench-operator bench-shards bench-trust soak soak-failover soak-hostile soak-outages test-dask test-ray clean
help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/.venv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tenantry needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet '$(UV)'
	@touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	$(call install,--group demo --editable '.[all]')
	@touch $@

$(VENV)/.dev: $(VENV)/.venv pyproject.toml constraints.txt
	$(call install,--group dev --editable '.[all]')
	@test ! -f $(COMPILED_KEPT) || tar -xf $(COMPILED_KEPT) -C $(VENV) || \
		{ rm -f $(COMPILED_KEPT); find $(VENV)/lib -name '*.pyc' -delete; }
	@touch $@

install: $(VENV)/.dev ## a virtual environment with everything, in .venv

demo: $(VENV)/.demo ## two thousand tenants from real data, on this machine; ONCE=1 ends after the table
	$(BIN)/python -m examples.nycflights.demo $(if $(ONCE),--once)

# What Python has compiled of the libraries is kept where the next checkout finds it, for the files that uv links
# from its cache: else each of the workers compiles all of it, for half a minute and at the same time.
COMPILED_KEPT := $(HOME)/.cache/tenantry/compiled.tar

# OpenMP's threads spin while they wait for each other: where two workers share two cores, ten times as long.
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.dev ## every check, from format to end to end
	@$(MAKE) --no-print-directory --jobs 2 lint types imports prose
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
	-@test $(COMPILED_KEPT) -nt constraints.txt || { mkdir -p $(dir $(COMPILED_KEPT)) && cd $(VENV) && find lib -name '*.pyc' | \
		tar -cf $(COMPILED_KEPT).$$$$ -T - && mv -f $(COMPILED_KEPT).$$$$ $(COMPILED_KEPT); }

lint: $(VENV)/.dev ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# What mypy has read of the libraries is kept where the next checkout finds it: to read it takes two minutes.
MYPY_KEPT := $(HOME)/.cache/tenantry/mypy.tar
.mypy_cache:
	@mkdir -p $@
	@test ! -f $(MYPY_KEPT) || tar -xf $(MYPY_KEPT) || rm -rf $@
	@mkdir -p $@ && touch $@/new

types: $(VENV)/.dev | .mypy_cache ## strict types
	$(BIN)/mypy
	-@test ! -f .mypy_cache/new || { rm .mypy_cache/new && mkdir -p $(dir $(MYPY_KEPT)) && \
		tar -cf $(MYPY_KEPT).$$$$ .mypy_cache && mv -f $(MYPY_KEPT).$$$$ $(MYPY_KEPT); }

imports: $(VENV)/.dev ## who may import whom
	$(BIN)/lint-imports

prose: $(VENV)/.dev ## spelling, and words that read badly
	$(BIN)/codespell
	$(BIN)/python tools/prose.py

unit: $(VENV)/.dev ## the quick tests only
	$(BIN)/pytest tests/unit

coverage: $(VENV)/.dev ## branches that the quick tests reach, by package
	$(BIN)/pytest -q --cov --cov-report= tests/unit core operator modelserver cli integrations
	$(BIN)/python tools/coverage_by_package.py

$(VENV)/.docs: $(VENV)/.dev pyproject.toml constraints.txt
	$(call install,--group docs)
	@touch $@

docs: $(VENV)/.docs ## the site of docs/ and of the docstrings, in site/
	$(BIN)/mkdocs build --strict

IMAGE ?= tenantry:dev
image: ## the container image; IMAGE=registry.example.com/tenantry:0.1.0 PLATFORM=linux/amd64,linux/arm64 PUSH=1
	@$(PYTHON) tools/image.py --tag $(IMAGE) $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(PUSH),--push)

charts: ## the dashboard, and what charts/ holds copies of, written again
	@$(PYTHON) -m tools.dashboard
	cp crds/tenantmodel.yaml crds/tenantpolicy.yaml charts/tenantry-crds/templates/
	cp manifests/components/monitoring/alerts.yaml manifests/components/monitoring/dashboard.json charts/tenantry/files/

formats: $(VENV)/.dev ## the names and suffixes of formats outside of the servers, written again from their folders
	@$(BIN)/python -m tools.formats

# In an environment apart: what writes locks and bills of materials has dependencies of its own.
LOCKING := $(VENV)-lock
$(LOCKING)/.made: Makefile
	$(PYTHON) -m venv $(LOCKING)
	$(LOCKING)/bin/pip install --quiet --disable-pip-version-check '$(UV)' 'cyclonedx-bom==7.5.0' 'cyclonedx-python-lib[json-validation]==11.12.0'
	@touch $@

lock: $(LOCKING)/.made ## requirements.lock: every version of constraints.txt that `tenantry[all]` needs, with its hashes
	$(LOCKING)/bin/uv pip compile --quiet pyproject.toml --extra all --constraint constraints.txt --generate-hashes \
		--universal --python-version 3.11 --no-header --no-annotate --output-file requirements.lock

sbom: $(LOCKING)/.made ## sbom.cdx.json: what an installation by requirements.lock holds (CycloneDX 1.6), valid by its schema
	$(LOCKING)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --spec-version 1.6 --validate --output-file sbom.cdx.json

envtest: $(VENV)/.dev ## the test API server's binaries, and where they are
	$(BIN)/python -m tests.support.kubernetes.envtest

bench: $(VENV)/.dev ## the model server beside Flask, MLServer and Ray Serve, one table, ten minutes; ARGS=--help
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-operator: $(VENV)/.dev ## ten thousand TenantModels on a real API server; takes five minutes
	$(BIN)/python -m benchmarks.operator

bench-isolation: $(VENV)/.dev ## workers beside an earlier tree; ARGS="--before TREE"; takes fifteen minutes
	$(BIN)/python -m benchmarks.isolation $(ARGS)

bench-shards: $(VENV)/.dev ## a server joins, a hundred thousand tenants, the extra hop; takes three minutes
	$(BIN)/python -m benchmarks.shards $(ARGS)

bench-batch: $(VENV)/.dev ## many users in one request beside one request for each; takes five minutes
	$(BIN)/python -m benchmarks.batch $(ARGS)

bench-trust: $(VENV)/.dev ## keys, limits, a million attacks and a million fuzzed requests; ARGS="--only keys,quotas"; takes forty minutes
	$(BIN)/python -m benchmarks.trust $(ARGS)

test-dask: $(VENV)/.dev ## the Python of docs/scoring.md for Dask and Spark (with Java), each in an environment of its own
	PYTHONPATH="$(CURDIR)" $(BIN)/pytest -q -rs --noconftest -p tests.conftest -p conftest tests/apart/score_document_cases.py

test-ray: export PYTHONPATH = $(CURDIR)
test-ray: $(VENV)/.dev ## examples/ray beside `tenantry score` on one fleet; Ray takes a minute to start on a busy machine
	PYTHONPATH="$$($(BIN)/python -c 'from tests.support.environments import with_pyarrow; print(with_pyarrow()["PYTHONPATH"])')" \
		$(BIN)/pytest -q --noconftest -p tests.conftest -p conftest tests/apart/score_fleet_cases.py

soak-hostile: $(VENV)/.dev ## ten minutes of hostile models and requests on a fleet of three
	TENANTRY_SOAK_S=600 $(BIN)/python -m pytest -s --timeout 1200 tests/e2e/test_workers.py -k chaos

soak-failover: $(VENV)/.dev ## twenty failovers of PostgreSQL that lose commits; TENANTRY_TEST_SEED=… replays a run
	TENANTRY_FAILOVER_ROUNDS=$${TENANTRY_FAILOVER_ROUNDS:-20} $(BIN)/pytest -rA tests/e2e/test_failover.py

soak-outages: $(VENV)/.dev ## faults of servers under 500 requests a second; PostgreSQL and S3 away for a minute; 20,000 tenants at once
	TENANTRY_LOAD_PER_S=500 TENANTRY_OUTAGE_S=60 TENANTRY_OUTAGE_TENANTS=20000 \
		$(BIN)/pytest -rA tests/e2e/test_shard_faults.py tests/e2e/test_shard_outages.py

soak: $(VENV)/.dev ## ten minutes of random faults under load, and twenty plans of them; TENANTRY_TEST_SEED=… replays a run
	TENANTRY_SOAK_S=$${TENANTRY_SOAK_S:-600} TENANTRY_FRESHNESS_EXAMPLES=20 \
		$(BIN)/pytest -rA --timeout 1800 tests/e2e/test_soak.py tests/e2e/test_freshness.py

clean: ## the virtual environment and every cache
	rm -rf $(VENV) $(LOCKING) sbom.cdx.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage site demo-data
