# make demo        draw two personal subjects on the tiny world, from nothing
# make test        all tests; the real WebUI's too where one is found
# make help        everything else

PYTHON     ?= $(shell command -v python3.11 || command -v python3)
WEBUI_DIR  ?= $(HOME)/stable-diffusion-webui
VENV       := .venv
RUN        := $(VENV)/bin/python
# idle threads that spin make a busy machine ten times slower
export GOMP_SPINCOUNT := 0
export OMP_WAIT_POLICY := PASSIVE
export WEBUI_DIR

PURE := core lora attention engine
comma := ,
empty :=
space := $(empty) $(empty)
PURE_FILES := $(subst $(space),$(comma),$(foreach part,$(PURE),clora_ext/$(part)/*))

.PHONY: help demo test test-unit test-host-python test-webui link-webui screenshots train-tiny check-world lint bench-quality bench-speed bench-page bench-webui sweep

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

$(VENV)/.demo: requirements/tools.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -r requirements/tools.txt
	touch $@

$(VENV)/.tests: $(VENV)/.demo requirements/tests.txt
	$(RUN) -m pip install -q -r requirements/tests.txt
	touch $@

demo: $(VENV)/.demo ## two personal subjects, four seeds: out/demo/compare.png
	$(RUN) -m tiny_world.demo

test: lint test-unit ## everything that can run here
	@if [ -d "$(WEBUI_DIR)" ]; then $(MAKE) test-host-python test-webui; \
	else echo "The real WebUI's tests did NOT run: there is no WebUI in $(WEBUI_DIR). Set WEBUI_DIR=..."; fi

lint: $(VENV)/.tests ## style and import directions
	$(RUN) -m ruff check .

test-unit: $(VENV)/.tests ## all but the real WebUI's
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 tests --ignore=tests/webui --cov --cov-report=
	$(RUN) -m coverage report --include='$(PURE_FILES)' --fail-under=95

test-host-python: $(VENV)/.tests ## the unit tests on WebUI's own Python and torch
	PYTHONPATH= $(RUN) tests/host_python.py "$(WEBUI_DIR)"

test-webui: $(VENV)/.tests ## boots the real WebUI in WEBUI_DIR and drives it
	$(RUN) -m pytest -n 2 --dist loadfile tests/webui

link-webui: $(VENV)/.demo ## extension, tiny checkpoint and LoRAs into WEBUI_DIR
	$(RUN) -m tiny_world.link_webui "$(WEBUI_DIR)"

screenshots: $(VENV)/.tests ## the page at every step of a test: out/screenshots, and docs/panel.png
	$(RUN) -m pytest tests/webui/test_panel.py -k pointing
	$(RUN) -m tests.webui.screenshot docs/panel.png docs/plot.png

train-tiny: $(VENV)/.demo ## the tiny world from its renderer: hours on 2 cores, minutes on a GPU
	$(RUN) -m tiny_world.train

check-world: $(VENV)/.demo ## does the tiny world tell methods apart? three pairs, 24 seeds
	$(RUN) -m tiny_world.check

bench-quality: $(VENV)/.demo ## does it compose? all methods, judged: out/bench/quality.html (QUICK=1, FULL=1, FOLDER=..., DEVICE=cuda)
	OMP_NUM_THREADS=1 $(RUN) -m bench.quality

sweep: $(VENV)/.demo ## which values are best, on the tuning prompts: out/bench/sweep-balanced.md (ROW=..., TRIALS=..., TIME_LIMIT=...)
	OMP_NUM_THREADS=1 $(RUN) -m bench.quality.sweep

bench-speed: $(VENV)/.demo ## what does it cost? FLOPs, rows, memory, seconds: out/bench/speed.json (DEVICE=cuda, TIME_LIMIT=seconds)
	$(RUN) -m pip install -q -r requirements/plots.txt
	$(RUN) -m bench.speed $(if $(DEVICE),--device $(DEVICE)) $(if $(TIME_LIMIT),--time-limit $(TIME_LIMIT))

bench-page: $(VENV)/.tests ## what does the panel cost the page? out/bench/page.json; needs WEBUI_DIR and chromium
	$(RUN) -m bench.page_speed

bench-webui: $(VENV)/.tests ## do 20 of the benchmark's cases get the same verdict through the real WebUI? out/bench/webui.json
	$(RUN) -m bench.quality.in_webui
