#!/usr/bin/env bash
# Disaster recovery drill on real processes: a control plane is lost and comes back elsewhere from its backup, while its cluster and its
# syncer go on. Prints each step and how long the recovery took (RTO). Ends what it has started; keeps nothing, or all with KEEP=1.
#
#   scripts/dr-drill.sh                                   backup in a directory
#   BACKUP=s3://kcp-backups/drill scripts/dr-drill.sh     in a bucket, see docs/storage.md for KCP_S3_ENDPOINT and credentials
set -euo pipefail

BIN=${KCP_BIN:-$(cd "$(dirname "$0")/.." && pwd)/.venv/bin}
[ -x "$BIN/kcp" ] || BIN=$(dirname "$(command -v kcp)")
export PATH="$BIN:$PATH" PYTHONUNBUFFERED=1
work=$(mktemp -d "${TMPDIR:-/tmp}/kcp-drill.XXXXXX")
cd "$work"
backup=${BACKUP:-backups}
[ "$backup" != backups ] || mkdir backups
pids=()

finish() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [ -n "${KEEP:-}" ]; then echo "everything is kept in $work"; else rm -rf "$work"; fi
}
trap finish EXIT

say() { printf '%s\n' "$*"; }
seconds() { python3 -c 'import time; print(f"{time.time():.1f}")'; }
since() { python3 -c 'import sys; print(f"{float(sys.argv[2]) - float(sys.argv[1]):.1f}")' "$1" "$(seconds)"; }
run() { # run NAME COMMAND…: in the background, its output in NAME.log
  local name=$1
  shift
  "$@" >"$name.log" 2>&1 &
  disown
  pids+=($!)
  eval "${name}_pid=$!"
}
until_true() { # until_true WHAT COMMAND…: try until it succeeds, a minute at most
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
      say "FAILED: $what"
      tail -n 20 ./*.log
      exit 1
    fi
    sleep 0.2
  done
}
logged() { grep -q "$2" "$1.log"; }
available() { [ "$(kubectl get deployment "$1" -o 'jsonpath={.status.availableReplicas}')" = 2 ]; }
ready() { kubectl get synctarget east -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
runs_below() { [ -n "$(below deployments -A --field-selector="metadata.name=$1" -o name)" ]; }
is_gone_below() { ! runs_below "$1"; }
restored() { kubectl tmc restored || [ $? = 2 ]; } # 2: there is something
held() { restored | grep -q "$1"; }
heard_since() { [[ "$(kubectl get synctarget east -o 'jsonpath={.status.lastSyncerHeartbeatTime}')" > "$1" ]]; }
below() { kubectl --kubeconfig=east.kubeconfig get "$@"; }
shipped() { # everything up to a revision is in the backup
  local reached
  reached=$(kcp snapshot verify "$backup" | sed -n 's/.*of revision \([0-9]*\),.*/\1/p')
  [ "${reached:-0}" -ge "$1" ]
}
serve() { # serve ROOT: a control plane that keeps everything in ROOT, at the address that everybody knows
  run "$1" kcp start --root-directory="$1" --secure-port="$port" --enable-tmc
  until_true "a control plane in $1" logged "$1" "kcp is ready"
}

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
say "0. A control plane with a cluster, a workload on it, and a continuous backup to $backup"
run cluster kcp sim cluster east --port 0 --kubeconfig-out east.kubeconfig
serve primary
export KUBECONFIG="$work/primary/admin.kubeconfig"
kubectl create workspace drill --enter >/dev/null
kubectl apply -f - >/dev/null <<'YAML'
apiVersion: workload.kcp.io/v1alpha1
kind: SyncTarget
metadata: {name: east}
spec: {}
---
apiVersion: scheduling.kcp.io/v1alpha1
kind: Placement
metadata: {name: all}
spec: {}
YAML
until_true "the cluster" test -s east.kubeconfig
uid=$(kubectl get synctarget east -o 'jsonpath={.metadata.uid}')
run syncer workload-syncer --sync-target-name=east --sync-target-uid="$uid" --workspace-cluster=root:drill \
  --kcp-kubeconfig=primary/admin.kubeconfig --cluster-kubeconfig=east.kubeconfig
until_true "a syncer" ready
kubectl create deployment web --image=nginx --replicas=2 >/dev/null
until_true "the workload" available web
run shipping kcp snapshot ship "$backup" --root-directory=primary --interval=1s
until_true "a snapshot" logged shipping "objects of revision"
kubectl create configmap written-last --from-literal=a=b >/dev/null
until_true "the backup of what was written last" shipped "$(kubectl get configmap written-last -o 'jsonpath={.metadata.resourceVersion}')"
kill -9 "$shipping_pid"
kubectl create deployment lost --image=nginx >/dev/null # which no backup knows
until_true "the workload that no backup knows" runs_below lost
before=$(below pods -A -l app=web -o 'jsonpath={.items[*].metadata.uid}')

say "1. The primary control plane fails"
kill -9 "$primary_pid"
lost=$(seconds) instant=$(date -u +%Y-%m-%dT%H:%M:%SZ)

say "2. The backup is verified: $(kcp snapshot verify "$backup")"

say "3. A second control plane takes over from it"
kcp snapshot restore "$backup" --root-directory=secondary >/dev/null
cp -r primary/pki primary/.admin-token-store secondary/
serve secondary
serving=$(since "$lost")
export KUBECONFIG="$work/secondary/admin.kubeconfig"
kubectl ws root:drill >/dev/null
kubectl get configmap written-last >/dev/null
say "   it serves after $serving s, with what was written last"

say "4. The syncer connects again"
until_true "the syncer at the second control plane" heard_since "$instant"
until_true "the SyncTarget" ready
say "   its heartbeat is there after $(since "$lost") s"

say "5. The workload has gone on, and new work is done"
[ "$(below pods -A -l app=web -o 'jsonpath={.items[*].metadata.uid}')" = "$before" ] || { say "FAILED: pods were made anew"; exit 1; }
until_true "the workload's status" available web
kubectl create deployment after --image=nginx --replicas=2 >/dev/null
until_true "a new workload" available after
total=$(since "$lost")
until_true "word of what runs and is in no backup" held default/lost
runs_below lost || { say "FAILED: what the backup does not know was deleted"; exit 1; }
say "   what no backup knows still runs, until somebody says that it may go:"
restored | sed 's/^/   | /'
kubectl tmc restored --acknowledge east | sed 's/^/   | /'
until_true "the end of what is not known" is_gone_below lost

say "6. Recovery time: served again after $serving s, new work done after $total s (RTO $total s; target 900 s)"
