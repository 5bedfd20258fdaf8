# Everything happens in .venv; `make fit` and `make test` are all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: fit test coverage lint arena results gallery clean
BUDGET ?= 8m

fit: $(READY)  ## train R3GAN on the digits that ship with scikit-learn
	$(BIN)/python -m gan_lightning.fit

test: $(READY)  ## all tests but the slow ones and those that need a GPU, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

coverage: $(READY)  ## the same tests, and the share of the code that they run: takes half as long again
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

gallery: $(READY)  ## the pictures above the README, from those of docs/results.md
	$(BIN)/python scripts/gallery.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

arena: $(READY)  ## every GAN of images for BUDGET on digits and on MNIST: more than six hours, goes on where it stopped
	$(BIN)/python -m gan_lightning.benchmark --suite benchmarks/arena.yaml --budget $(BUDGET) --metrics fid,is,prdc

results: $(READY)  ## the tables of docs/results.md, from the rows of results/
	$(BIN)/python -m gan_lightning.benchmark --page

clean:
	rm -rf .venv

$(READY): requirements.txt setup.cfg setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --editable .
	touch $@
