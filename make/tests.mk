# Parts of the tests, under the names that the build instructions use.
E2E := $(BIN)/pytest -q -m e2e -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning

.PHONY: test-tmc
test-tmc: $(DEV_STAMP) ## Tests of TMC alone, without end-to-end ones
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e" tests/unit/tmc tests/behaviour/tmc tests/behaviour/replay

.PHONY: test-coverage
test-coverage: $(ANALYSIS_STAMP) ## All tests but the end-to-end ones, with what they run: dist/coverage/index.html
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e" --cov=kcp --cov-branch --cov-report=term:skip-covered --cov-report=html:dist/coverage $(COVERAGE)

.PHONY: test-integration
test-integration: $(DEV_STAMP) ## Parts together: stores against real databases, servers and controllers in process, crashes
	$(BIN)/pytest -q -n 2 --dist loadfile tests/contract tests/behaviour tests/fault

.PHONY: test-tmc-integration
test-tmc-integration: $(DEV_STAMP) ## The same of TMC: placement, syncers and simulated clusters under virtual time
	$(BIN)/pytest -q -n 2 --dist loadfile tests/behaviour/tmc tests/behaviour/replay tests/behaviour/sim

.PHONY: test-tmc-e2e
test-tmc-e2e: $(COMPAT_STAMP) ## TMC with real processes and kubectl
	$(E2E) tests/e2e/test_flow.py tests/e2e/test_by_hand.py tests/e2e/test_examples.py tests/e2e/test_faults.py tests/e2e/test_syncer_process.py \
	  tests/e2e/test_tunnel.py
