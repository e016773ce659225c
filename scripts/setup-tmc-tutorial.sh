#!/usr/bin/env bash
# The fleet of simple-tutorial/: a control plane, clusters east and west, a syncer for each, each a process of its own. No Docker is needed.
#
#   scripts/setup-tmc-tutorial.sh [--kind]      set up tutorial-env/; with --kind the clusters are made by kind (which needs Docker)
#   scripts/setup-tmc-tutorial.sh --check       ready and wanted replicas, pods and endpoints, by cluster
#   scripts/setup-tmc-tutorial.sh --cleanup     end everything and remove tutorial-env/
#
# BASE_PORT is 16443: kcp listens there, the simulated clusters on the two ports after it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
env=${TUTORIAL_ENV:-$root/tutorial-env}
port=${BASE_PORT:-16443}
PATH=$root/.venv/bin:$PATH
export KUBECONFIG=$env/.kcp/admin.kubeconfig
CLUSTERS=(east west)

say() { printf '✓ %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

run() { # run NAME READY-LINE COMMAND...: in the background, until it says that it is ready
  local name=$1 ready=$2
  shift 2
  (cd "$env" && exec "$@" >"$name.log" 2>&1) &
  echo $! >"$env/$name.pid"
  for _ in $(seq 300); do
    grep -q "$ready" "$env/$name.log" 2>/dev/null && return
    kill -0 "$(cat "$env/$name.pid")" 2>/dev/null || break
    sleep 0.2
  done
  tail -20 "$env/$name.log" >&2
  fail "$name did not start: $env/$name.log"
}

setup() {
  command -v kubectl >/dev/null || fail "kubectl is missing: https://kubernetes.io/docs/tasks/tools/"
  [ -x .venv/bin/kcp ] || make --no-print-directory .venv/.installed
  [ ! -e "$env" ] || fail "$env is there already: scripts/setup-tmc-tutorial.sh --cleanup removes it"
  mkdir -p "$env"
  run kcp "kcp is ready" kcp start --root-directory=.kcp --secure-port="$port" --enable-tmc --v=2
  say "control plane at https://127.0.0.1:$port"
  kubectl ws create hello-world --enter >/dev/null
  say "workspace root:hello-world"
  local number=0
  for cluster in "${CLUSTERS[@]}"; do
    number=$((number + 1))
    if [ "${1:-}" = --kind ]; then
      command -v kind >/dev/null || fail "kind is missing: https://kind.sigs.k8s.io; without --kind the clusters are simulated"
      KUBECONFIG=$env/$cluster.kubeconfig kind create cluster --name "cluster-$cluster" --wait 120s
      touch "$env/$cluster.kind"
    else
      run "$cluster" "serves" kcp sim cluster "$cluster" --port "$((port + number))" --nodes 3 --labels "region=$cluster" \
        --kubeconfig-out "$cluster.kubeconfig"
    fi
    kubectl apply -f "examples/synctarget-$cluster.yaml" >/dev/null
    run "syncer-$cluster" "serving SyncTarget" workload-syncer --sync-target-name="$cluster" \
      --sync-target-uid="$(kubectl get synctarget "$cluster" -o jsonpath='{.metadata.uid}')" --workspace-cluster=root:hello-world \
      --kcp-kubeconfig=.kcp/admin.kubeconfig --cluster-kubeconfig="$cluster.kubeconfig" --v=2
    kubectl wait --for=condition=Ready "synctarget/$cluster" --timeout=60s >/dev/null
    say "cluster $cluster with its syncer"
  done
  printf '\nGo on with simple-tutorial/README.md:\n  export KUBECONFIG=%s\n  kubectl apply -f examples/01-hello-world/\n' "$KUBECONFIG"
}

check() {
  local total=0
  printf '%-8s %-14s %-6s %s\n' CLUSTER READY/WANTED PODS ENDPOINTS
  for cluster in "${CLUSTERS[@]}"; do
    below() { kubectl --kubeconfig "$env/$cluster.kubeconfig" "$@"; }
    ready=$(below get deployments -A -l app=hello-world -o jsonpath='{.items[*].status.readyReplicas}')
    wanted=$(below get deployments -A -l app=hello-world -o jsonpath='{.items[*].spec.replicas}')
    pods=$(below get pods -A -l app=hello-world --no-headers 2>/dev/null | grep -c Running || true)
    endpoints=$(below get endpointslices -A -l kubernetes.io/service-name=hello-world -o jsonpath='{.items[*].endpoints[*].addresses[0]}' | wc -w)
    printf '%-8s %-14s %-6s %s\n' "$cluster" "${ready:-0}/${wanted:-0}" "$pods" "$endpoints"
    total=$((total + pods))
  done
  echo "pods in all clusters: $total; ready as the workspace says: $(kubectl get deployment hello-world -o jsonpath='{.status.readyReplicas}')"
}

cleanup() {
  for file in "$env"/*.pid; do
    [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
  done
  for file in "$env"/*.pid; do
    [ -e "$file" ] || continue
    while kill -0 "$(cat "$file")" 2>/dev/null; do sleep 0.1; done
  done
  for cluster in "${CLUSTERS[@]}"; do
    [ ! -e "$env/$cluster.kind" ] || kind delete cluster --name "cluster-$cluster"
  done
  rm -rf "$env"
  say "removed $env"
}

case "${1:-}" in
  "" | --kind) setup "${1:-}" ;;
  --check) check ;;
  --cleanup) cleanup ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
