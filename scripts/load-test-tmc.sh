#!/usr/bin/env bash
# Many Deployments at once, and how long each takes until it is synced and until its status is back. Removes what it made.
#
#   COUNT=50 scripts/load-test-tmc.sh
#
# KUBECONFIG, KCP_CONTEXT   kcp: a workspace with SyncTargets (default: the current one)
# COUNT                     Deployments of one replica, 20 by default
# LIMIT_S                   seconds within which 99 of 100 must be synced, 5 by default; errors must stay below 0.1 %
# TIMEOUT_S                 after which what is not synced counts as an error, 120 by default
set -euo pipefail
COUNT=${COUNT:-20} LIMIT_S=${LIMIT_S:-5} TIMEOUT_S=${TIMEOUT_S:-120}
NAMESPACE=tmc-load
made=$(mktemp -d)

kcp() { kubectl ${KCP_CONTEXT:+--context "$KCP_CONTEXT"} "$@"; }
cleanup() {
  status=$?
  rm -rf "$made"
  kcp delete placement "$NAMESPACE" --ignore-not-found >/dev/null || status=1
  kcp delete namespace "$NAMESPACE" --ignore-not-found --timeout=120s >/dev/null || status=1
  exit "$status"
}
trap cleanup EXIT

deployments() {
  for number in $(seq "$COUNT"); do
    cat <<YAML
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: load-$number, namespace: $NAMESPACE}
spec:
  replicas: 1
  selector: {matchLabels: {app: load-$number}}
  template:
    metadata: {labels: {app: load-$number}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: pause
          image: registry.k8s.io/pause:3.10
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          resources: {requests: {cpu: 1m, memory: 8Mi}}
YAML
  done
}

kcp apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $NAMESPACE, labels: {kubernetes.io/metadata.name: $NAMESPACE}}
---
apiVersion: scheduling.kcp.io/v1alpha1
kind: Placement
metadata: {name: $NAMESPACE}
spec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: $NAMESPACE}}}
YAML
kcp wait --for=condition=Ready "placement/$NAMESPACE" --timeout="${TIMEOUT_S}s" >/dev/null

echo "applying $COUNT Deployments …"
deployments | kcp apply -f - >/dev/null
# The watch tells of every change as it comes; when all are there it is ended.
columns='NAME:.metadata.name,SYNCED:.status.conditions[?(@.type=="Synced")].status,READY:.status.readyReplicas'
columns+=',MADE:.metadata.creationTimestamp'
touch "$made/synced" "$made/ready"
seen() { sort -u -k1,1 "$made/$1" | wc -l; }
while IFS= read -r -t "$TIMEOUT_S" line; do
  now=$(date +%s.%N)
  read -r name synced ready created <<<"$line"
  since=$(date -d "$created" +%s)
  for state in "synced $synced" "ready $ready"; do
    read -r what value <<<"$state"
    { [ "$value" = True ] || [ "$value" = 1 ]; } && ! grep -q "^$name " "$made/$what" &&
      awk -v n="$name" -v a="$since" -v b="$now" 'BEGIN { printf "%s %.2f\n", n, b - a }' >>"$made/$what"
  done
  [ "$(seen ready)" -lt "$COUNT" ] || break
done < <(timeout "$TIMEOUT_S" ${KUBECTL:-kubectl} ${KCP_CONTEXT:+--context "$KCP_CONTEXT"} get deployments -n "$NAMESPACE" --watch --no-headers -o "custom-columns=$columns")

at() { sort -n -k2,2 "$made/$1" | awk -v q="$2" '{ v[NR] = $2 } END { if (NR) printf "%.1f s", v[int((NR - 1) * q + 0.5) + 1]; else printf "never" }'; }
errors=$((COUNT - $(seen synced)))
printf '%-10s %8s %8s %8s\n' "" p50 p99 of
for what in synced ready; do printf '%-10s %8s %8s %5d/%d\n' "$what" "$(at $what 0.5)" "$(at $what 0.99)" "$(seen $what)" "$COUNT"; done
echo "times since the object was made, which the API tells in whole seconds"
[ $((errors * 1000)) -lt "$COUNT" ] || { echo "FAILED: $errors of $COUNT were not synced within ${TIMEOUT_S} s: kubectl tmc why deployment/load-1 -n $NAMESPACE" >&2; exit 1; }
late=$(awk -v limit="$LIMIT_S" '$2 > limit + 1' "$made/synced" | wc -l)
[ $((late * 100)) -le "$COUNT" ] || { echo "FAILED: $late of $COUNT took longer than $LIMIT_S s until they were synced" >&2; exit 1; }
