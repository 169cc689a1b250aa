# What a person does with a checkout. Everything is installed into .venv, nothing outside of it
# but Mosquitto and systemd, by `make test` as root.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-text fleet-example firmware test vm-test check format bench soak clean

help: ## list what make can do here
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

demo: .venv/has-demo ## try it out for a minute; DEMO_ARGS="--seconds 20 --speed 4" for another way
	@.venv/bin/edged demo $(DEMO_ARGS)

demo-text: .venv/has-demo ## texts instead of sensors: real work orders; DEMO_ARGS as above
	@$(MAKE) --no-print-directory .venv/has-text || echo "So it runs without a language model."
	@.venv/bin/edged demo text $(DEMO_ARGS)

fleet-example: .venv/has-test ## write the releases that docs/fleet.md tries out
	@.venv/bin/python -m tests.walkthrough releases fleet-example

firmware: ## build the library for microcontrollers and its example for QEMU, print how large they are
	@command -v arm-none-eabi-gcc >/dev/null || { echo "This needs the compiler for ARM: sudo apt-get install -y gcc-arm-none-eabi"; exit 1; }
	@$(MAKE) --no-print-directory -s -C firmware_bridge/firmware
	@command -v qemu-system-arm >/dev/null || echo "To run the example: sudo apt-get install -y qemu-system-arm, then see firmware_bridge/firmware/README.md"

test: .venv/has-test ## run all tests; TEST_ARGS="-k demo" for some of them
	@scripts/test $(TEST_ARGS)

vm-test: .venv/has-test ## boot edged in a virtual machine, kill it, hang it, restart it; as root, some minutes
	@scripts/vm-test

check: .venv/has-check ## lint, format, types, and the rules of the project
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest tests/test_layers.py tests/test_project.py tests/test_profiles.py tests/test_board_detect.py

format: .venv/has-check ## bring all code into the one format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/has-test ## measure the data path beside the plain script; BENCH_ARGS for its options
	@.venv/bin/python -m bench $(BENCH_ARGS)

soak: .venv/has-test ## prove for minutes that nothing is lost and nothing grows; SOAK_ARGS="--hours 8" for longer
	@.venv/bin/python -m soak $(SOAK_ARGS)

clean: ## remove what make made: .venv, builds, caches
	rm -rf .venv build dist firmware_bridge/firmware/build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says what .venv holds; it is made anew when the requirements change. What has more has less, too.
.venv/has-demo: setup.cfg pyproject.toml scripts/install
	@scripts/install demo,litert
	@touch $@

.venv/has-text: setup.cfg pyproject.toml scripts/install
	@scripts/install demo,litert,text
	@touch .venv/has-demo $@

.venv/has-test: setup.cfg pyproject.toml scripts/install
	@scripts/install test
	@touch .venv/has-demo .venv/has-text $@

.venv/has-check: setup.cfg pyproject.toml scripts/install
	@scripts/install test,check
	@touch .venv/has-demo .venv/has-text .venv/has-test $@
