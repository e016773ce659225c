# Charts, images and what is deployed of them.

.PHONY: chart-docs
chart-docs: $(DEV_STAMP) ## README and schema of each chart, out of its values.yaml
	@$(BIN)/python scripts/charts/document.py
