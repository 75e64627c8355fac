# The front door. Everything here is a line of CMake that can be typed by hand.
#
#   make run ARGS="model.gguf --prompt 'Once upon a time'"
#   make test

PRESET ?= release
BUILD_DIR = $(if $(filter release,$(PRESET)),build,build-$(PRESET))
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help deps run build test asan tsan benchmark clean

help:  ## This list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

deps:  ## Install missing packages (Debian, Ubuntu)
	@scripts/install_dependencies.sh

run: deps  ## Build the tool alone and run it: make run ARGS="model.gguf --prompt Hello"
	@cmake --preset release --log-level=WARNING
	@cmake --build build --parallel $(JOBS) --target tandem_tool
	build/bin/tandem run $(ARGS)

build: deps  ## Build everything, tests included
	cmake --preset $(PRESET)
	cmake --build $(BUILD_DIR) --parallel $(JOBS)

test: build  ## Build everything and run all tests
	ctest --test-dir $(BUILD_DIR) --output-on-failure --parallel $(JOBS) $(CTEST_ARGS)

asan:  ## All tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) test PRESET=asan

tsan:  ## All tests under ThreadSanitizer
	@$(MAKE) test PRESET=tsan

benchmark: deps  ## Speed of single kernels: make benchmark ARGS="--benchmark_filter=product/q4_k"
	@cmake --preset release -DTANDEM_BUILD_BENCHMARKS=ON --log-level=WARNING
	@cmake --build build --parallel $(JOBS) --target cpu_kernel_bench
	build/bin/cpu_kernel_bench $(ARGS)

clean:  ## Remove all build folders
	rm -rf build build-asan build-tsan build-device
