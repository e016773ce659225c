#!/usr/bin/env bash
# Does an installation work? Health, clusters, one Deployment through placement and syncer and back, load. Removes what it made.
#
#   scripts/test-tmc-functionality.sh [--skip-load]
#
# KUBECONFIG, KCP_CONTEXT   kcp: a workspace with SyncTargets (default: the current one)
# HOST_CONTEXT              the cluster that kcp runs in, when its pods are to be looked at too; HOST_NAMESPACE is kcp-system by default
# TIMEOUT                   of each wait, 120s by default
set -euo pipefail
cd "$(dirname "$0")/.."
TIMEOUT=${TIMEOUT:-120s}
HOST_NAMESPACE=${HOST_NAMESPACE:-kcp-system}
MANIFEST=test/manifests/test-deployment.yaml
NAMESPACE=tmc-functionality

kcp() { kubectl ${KCP_CONTEXT:+--context "$KCP_CONTEXT"} "$@"; }
step() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
cleanup() {
  status=$?
  step "Cleanup"
  kcp delete -f "$MANIFEST" --ignore-not-found --timeout="$TIMEOUT" || status=1
  [ "$status" = 0 ] && printf '\nAll checks passed.\n'
  exit "$status"
}

step "Health"
if [ -n "${HOST_CONTEXT:-}" ]; then
  kubectl --context "$HOST_CONTEXT" get pods -n "$HOST_NAMESPACE"
  kubectl --context "$HOST_CONTEXT" wait --for=condition=Ready pods --all -n "$HOST_NAMESPACE" --timeout="$TIMEOUT"
fi
kcp get --raw /readyz >/dev/null || fail "the server is not ready: kubectl get --raw '/readyz?verbose'"
kcp get synctargets -A || fail "no SyncTargets are served here: choose a workspace with them by KCP_CONTEXT, or kubectl ws"
ready=$(kcp get synctargets -A -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' | grep -c True || true)
[ "$ready" -gt 0 ] || fail "no cluster is ready: kubectl describe synctargets"

trap cleanup EXIT
step "One Deployment"
kcp apply -f "$MANIFEST"
kcp wait --for=condition=Ready placement/tmc-functionality --timeout="$TIMEOUT"
kcp wait --for=jsonpath='{.status.readyReplicas}'=2 -n "$NAMESPACE" deployment/test-deployment --timeout="$TIMEOUT" ||
  fail "it does not run: kubectl tmc why deployment/test-deployment -n $NAMESPACE"
kcp get deployments -A | grep test-deployment

if [ "${1:-}" != --skip-load ]; then
  step "Load"
  ./scripts/load-test-tmc.sh
fi
