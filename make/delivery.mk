# Charts, images and what is deployed of them. What is made goes to dist/.
RENDER = $(BIN)/python scripts/charts/render.py
MANIFESTS := dist/manifests

.PHONY: chart-docs
chart-docs: $(DEV_STAMP) ## README and schema of each chart, out of its values.yaml
	@$(BIN)/python scripts/charts/document.py

.PHONY: image-tmc
image-tmc: ## Image kcp-tmc:latest with docker, podman or buildah; IMAGE_FLAGS=--debian where no registry of images is reached
	scripts/images/build $(IMAGE_FLAGS) tmc

.PHONY: image-kcp image-syncer
image-kcp: ## Image kcp-server:latest
	scripts/images/build $(IMAGE_FLAGS) kcp
image-syncer: ## Image kcp-syncer:latest
	scripts/images/build $(IMAGE_FLAGS) syncer

.PHONY: image-optimize
image-optimize: ## Image kcp-tmc:latest in one layer, and how large it is
	scripts/images/build --squash $(IMAGE_FLAGS) tmc

.PHONY: test-images
test-images: ## Build all images on a base of Debian's packages, start them, talk to them (root, buildah and mmdebstrap)
	scripts/images/test

.PHONY: dist-wheel
dist-wheel: $(STAMP)
	@rm -f dist/*.whl && $(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

.PHONY: sbom
sbom: $(COMPAT_STAMP) ## dist/sbom.cdx.json: what the product is made of, in CycloneDX's form, signed with SBOM_KEY (PEM) if that is given
	@mkdir -p dist && $(BIN)/python scripts/security/sbom.py dist/sbom.cdx.json $(SBOM_KEY)

.PHONY: audit-dependencies
audit-dependencies: $(COMPAT_STAMP) ## Known vulnerabilities of dependencies; says so and goes on where the databases of them are not reached
	@$(BIN)/python scripts/security/audit.py

.PHONY: build-secure
build-secure: dist-wheel sbom audit-dependencies security-manifests ## Wheel with checksums, bill of materials, audit and security manifests
	@cd dist && sha256sum *.whl sbom.cdx.json > SHA256SUMS && cat SHA256SUMS

.PHONY: security-manifests
security-manifests: $(COMPAT_STAMP) ## dist/manifests/security.yaml: namespace of level restricted, NetworkPolicies, policies against privileged workloads
	@mkdir -p $(MANIFESTS)
	@{ kubectl kustomize environments/production | $(BIN)/python scripts/charts/pick.py Namespace; \
	  $(RENDER) kcp-tmc --set networkPolicy.enabled=true --kind NetworkPolicy --kind ServiceAccount; \
	  $(RENDER) kcp-syncer --set networkPolicy.enabled=true --kind NetworkPolicy; kubectl kustomize policies; } > $(MANIFESTS)/security.yaml
	@echo $(MANIFESTS)/security.yaml

.PHONY: rbac-manifests
rbac-manifests: $(COMPAT_STAMP) ## dist/manifests/rbac.yaml: accounts and rights of both charts
	@mkdir -p $(MANIFESTS)
	@for chart in kcp-tmc kcp-syncer; do $(RENDER) $$chart --kind ServiceAccount --kind Role --kind RoleBinding --kind ClusterRole \
	  --kind ClusterRoleBinding; done > $(MANIFESTS)/rbac.yaml
	@echo $(MANIFESTS)/rbac.yaml

.PHONY: ha-values
ha-values: ## dist/kcp-ha-values.yaml: values of an installation over three zones
	@mkdir -p dist && cp charts/kcp-tmc/values-ha.yaml dist/kcp-ha-values.yaml && echo dist/kcp-ha-values.yaml

.PHONY: build-ha
build-ha: dist-wheel ha-values $(COMPAT_STAMP) ## Wheel, values and manifests of an installation over three zones
	@mkdir -p $(MANIFESTS) && $(RENDER) kcp-tmc --values dist/kcp-ha-values.yaml > $(MANIFESTS)/ha.yaml && echo $(MANIFESTS)/ha.yaml

.PHONY: prometheus-rules
prometheus-rules: $(COMPAT_STAMP) ## dist/manifests/prometheus-rules.yaml: the alerts of monitoring/ as a PrometheusRule
	@mkdir -p $(MANIFESTS) && $(RENDER) kcp-tmc --set monitoring.prometheus.assumeOperator=true --kind PrometheusRule > $(MANIFESTS)/prometheus-rules.yaml
	@echo $(MANIFESTS)/prometheus-rules.yaml

.PHONY: grafana-dashboards
grafana-dashboards: $(COMPAT_STAMP) ## dist/manifests/grafana-dashboards.yaml: the dashboards of monitoring/ as a ConfigMap
	@mkdir -p $(MANIFESTS) && $(RENDER) kcp-tmc --kind ConfigMap | $(BIN)/python scripts/charts/pick.py ConfigMap kcp-tmc-dashboard > $(MANIFESTS)/grafana-dashboards.yaml
	@echo $(MANIFESTS)/grafana-dashboards.yaml

.PHONY: build-with-monitoring
build-with-monitoring: dist-wheel prometheus-rules grafana-dashboards ## Wheel, and what Prometheus and Grafana are given
	@$(RENDER) kcp-tmc --set monitoring.prometheus.assumeOperator=true --kind ServiceMonitor > $(MANIFESTS)/service-monitors.yaml
	@echo $(MANIFESTS)/service-monitors.yaml
