# make demo    mirror an organization (POLAR_ACCESS_TOKEN), or a made-up one, and look at it in the admin
# make test    everything that has to hold before a change goes in, the tests in random order (SEED=… repeats one)
#              (POLAR_SYNC_SCHEDULES=1000 plays so many schedules of a server that changes during runs)
# make test-sqlite, make test-postgresql   the parts of it that run code (MARKS=… chooses tests of the first by marks)
# make messages   bring the catalogues of translations up to date with the source, and compile them
# make bench   what mirroring costs, beside the loop that every team writes first; webhook deliveries under load
# make lint    the part of make test that runs no code
# make clean   remove what these made

# Another pair of versions: make test VENV=.venv-6.0 PYTHON=python3.12 DJANGO='django~=6.0.0'
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Another PostgreSQL server for the tests: make test POSTGRES_URL=postgres://…
POSTGRES_URL ?= postgres://postgres@127.0.0.1:5432/test
# What a developer has exported for a real organization must not reach a test.
CLEAN_ENV := env -u POLAR_ACCESS_TOKEN -u POLAR_SERVER -u POLAR_REQUESTS_PER_MINUTE -u POLAR_WEBHOOK_SECRET \
	-u POLAR_WEBHOOK_ENDPOINT_ID -u POLAR_FOLLOW_ALL -u DATABASE_URL -u CELERY_BROKER_URL -u DJANGO_SECRET_KEY \
	-u DJANGO_DEBUG -u DJANGO_ALLOWED_HOSTS -u DJANGO_SETTINGS_MODULE
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal $(if $(SEED),--randomly-seed=$(SEED))

.PHONY: demo test test-sqlite test-postgresql messages bench lint clean
.NOTPARALLEL:

demo: $(INSTALLED)
	@exec $(BIN)/python -m project.demo

test: lint test-sqlite test-postgresql

test-sqlite: $(INSTALLED)
	$(CLEAN_ENV) $(BIN)/python manage.py makemigrations --check
	$(CLEAN_ENV) $(PYTEST) $(if $(MARKS),-m '$(MARKS)')

test-postgresql: $(INSTALLED)
	@if $(BIN)/python -m tests.postgresql "$(POSTGRES_URL)"; then \
		$(CLEAN_ENV) DATABASE_URL="$(POSTGRES_URL)" $(PYTEST) -m 'database and not any_database'; \
	elif [ "$${POLAR_SYNC_REQUIRE_SERVICES:-}" = 1 ]; then \
		echo "PostgreSQL is required by POLAR_SYNC_REQUIRE_SERVICES=1." >&2; exit 1; \
	else \
		echo "SKIPPED: the tests on PostgreSQL."; \
	fi

messages: $(INSTALLED)
	$(BIN)/python -m tests.catalogues

bench: $(INSTALLED)
	$(CLEAN_ENV) $(BIN)/python -m benchmarks
	$(CLEAN_ENV) $(BIN)/python -m benchmarks.webhooks

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(CLEAN_ENV) $(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-* .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# Any Python that is new enough, PYTHON=… to choose. A name can be on the path and still not run (pyenv), so each is
# asked. pip is brought up to date first: dependency groups need 25.1.
$(INSTALLED): pyproject.toml
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "polar_sync needs Python 3.11 or newer, and none is on the path; name one: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "Installing into $(VENV) with $$("$$python" --version)"; "$$python" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[postgres,redis,testing]' --group dev $(if $(DJANGO),'$(DJANGO)')
	@touch $@
