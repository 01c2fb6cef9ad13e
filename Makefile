# What each command does stands in tasks.py: `make demo` is `python tasks.py demo`, which works without make as well.
# Variables behind a command reach it: `make bench-quality QUICK=1`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TASKS := help demo test lint fuzz faults soak test-unit test-host-python test-webui test-slow link-webui webui-for-tests screenshots train-tiny \
	check-world bench-quality sweep bench-speed bench-merging bench-page bench-webui compatibility

.PHONY: $(TASKS)
$(TASKS):
	@$(PYTHON) tasks.py $@
