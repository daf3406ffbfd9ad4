# The commands of the course. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help lab test test-latest lint mutate browser site outputs export readme experiments weights bench
NB =
ARGS =
MY = my
FULL =
CHECK =

PYTHONS = $(or $(PYTHON),.venv/bin/python python3 python3.13 python3.12 python3.11 python3.14)
FITS = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
define python
found=; for p in $(PYTHONS); do if "$$p" -c '$(FITS)' 2>/dev/null; then found=$$p; break; fi; done; \
if [ -z "$$found" ]; then \
  echo "Python 3.11, 3.12, 3.13 or 3.14 is needed, none was found. Name one: make lab PYTHON=/path/to/python3" >&2; \
  exit 1; fi; "$$found"
endef
COURSE = @$(python) tools/setup_env.py course
DEV = @$(python) tools/setup_env.py dev
RUN = @.venv/bin/python

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

lab: ## open the course in JupyterLab; ARGS="--no-browser --port=8890" is passed on
	$(COURSE)
	$(RUN) tools/lab.py --my "$(MY)" $(ARGS)

test: ## test everything, or one chapter with NB=07
	$(DEV)
	$(RUN) tools/test_all.py $(NB)

test-latest: ## test on the newest fastai and fastcore, without nbdev; FULL=1 runs every notebook
	@$(python) tools/test_latest.py $(if $(FULL),--full)

lint: ## check style and rules in seconds, run no notebook
	$(DEV)
	$(RUN) -m ruff check
	$(RUN) tools/lint.py $(NB)

mutate: ## break the code on purpose, all or NB=07; the tests must notice
	$(DEV)
	$(RUN) tools/mutate.py $(NB) $(ARGS)

browser: site ## use the course and its site in a real Chromium
	$(DEV)
	$(RUN) tests/browser/run.py

site: ## write the course as a site, to _site/html/
	$(DEV)
	$(RUN) tools/build_site.py

outputs: ## run notebooks from a fresh kernel and store what they show, all or NB=07
	$(DEV)
	$(RUN) tools/store_outputs.py $(NB)

export: ## write the modules of attn_course/ from the notebooks
	$(DEV)
	$(RUN) -c "from nbdev.doclinks import nbdev_export; nbdev_export()"

readme: ## write README.md from nbs/index.ipynb
	$(DEV)
	$(RUN) tools/write_readme.py

experiments: ## run the studies behind nbs/results/, all or NB=05 (hours); CHECK=1: one seed, and the hash
	$(DEV)
	$(RUN) tools/experiments.py $(NB) $(if $(CHECK),--check)

weights: ## train the networks that ship with the course again, all or NB=11
	$(DEV)
	$(RUN) tools/make_weights.py $(NB)

bench: ## measure against grad-cam, captum and torchcam, in an environment of its own
	@$(python) tools/bench.py
