# One-node Kubernetes for tests; included by the Makefile. CLUSTER=name for several side by side, WITH=add-ons.
CLUSTER ?= dev
WITH ?= all
ONE_NODE := python3 -m tests.cluster.one_node

.PHONY: cluster-up cluster-down cluster-status test-cluster test-pulumi goldens-charts

cluster-up: ## start a real one-node Kubernetes in a network namespace of its own (root; the first time builds it: 20 minutes)
	@$(ONE_NODE) up --name $(CLUSTER) --with $(WITH) --install-packages

cluster-down: ## end that cluster and remove everything of it
	@$(ONE_NODE) down --name $(CLUSTER)

cluster-status: ## list the clusters on this machine
	@$(ONE_NODE) status

test-cluster: setup ## run the tests that need a cluster: on KUBECONFIG's where it is set, else on one of their own
	@$(ISOLATED) $(BIN)/python -m pytest tests/cluster -m "cluster and not pulumi" -q -n 3 $(PYTEST_MORE)

test-pulumi: setup ## run the Pulumi program on a cluster by Pulumi's engine; the first time builds both (more minutes)
	@$(ONE_NODE) build pulumi pulumi-kubernetes > /dev/null
	@$(ISOLATED) $(BIN)/python -m pytest tests/cluster -m "cluster and pulumi" -q $(PYTEST_MORE)

goldens-charts: setup ## render the charts anew into tests/golden/charts
	@$(ISOLATED) $(BIN)/python -m tests.golden.render_charts
