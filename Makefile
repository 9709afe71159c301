# The habits of this project. Each target makes what it needs.
PYTHON ?= python3
DEMO_OUT ?= studies/digits-dense
PROCESSES ?= 2
# What is never imported need not be compiled: that would take half a minute of each install.
PIP_FLAGS = --quiet --no-compile -c constraints.txt

.PHONY: demo test check bench clean

demo: .venv/installed  ## Train some 160 nets on scikit-learn's digits; print table and verdict; write the report.
	.venv/bin/skipway study --out $(DEMO_OUT)

test: .venv-test/installed  ## Run the tests, a file at a time in each of so many processes.
	.venv-test/bin/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

check: .venv-test/installed  ## Format, lint, types and the levels of the house.
	.venv-test/bin/ruff format --check .
	.venv-test/bin/ruff check .
	.venv-test/bin/mypy
	.venv-test/bin/python -m pytest tests/test_levels.py

bench: .venv-test/installed  ## Measure; each file under benchmarks/ says what.
	.venv-test/bin/python benchmarks/verdict.py
	.venv-test/bin/python benchmarks/replicas.py
	.venv-test/bin/python benchmarks/train_step.py
	.venv-test/bin/python benchmarks/memory.py
	.venv-test/bin/python benchmarks/kills.py
	.venv-test/bin/python benchmarks/study_kills.py
	.venv-test/bin/python benchmarks/first_load.py
	.venv-test/bin/python benchmarks/streaming.py
	.venv-test/bin/python benchmarks/watch.py
	.venv-test/bin/python benchmarks/known_depth.py

clean:  ## Take away environments and caches; studies stay.
	rm -rf .venv .venv-test .mypy_cache .ruff_cache .pytest_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) -e .
	touch $@

.venv-test/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install $(PIP_FLAGS) -e '.[test]'
	# The peers that nets are compared with; alone, since they would ask for another torch.
	.venv-test/bin/python -m pip install $(PIP_FLAGS) --no-deps torchvision timm
	touch $@
