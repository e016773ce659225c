// A Deployment as a program with @kubernetes/client-node makes, watches, scales and reads it.
// Run by test_javascript_client.py: node workload.mjs KUBECONFIG NAMESPACE MANIFEST. Prints one JSON object of what it saw.
import { readFileSync } from 'node:fs';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, namespace, manifest] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const apps = config.makeApiClient(k8s.AppsV1Api);
const core = config.makeApiClient(k8s.CoreV1Api);
const seen = {};

for (const spec of k8s.loadAllYaml(readFileSync(manifest, 'utf8'))) {
  spec.metadata.namespace = namespace;
  await objects.create(spec);
}

const reached = (replicas) =>
  new Promise((resolve, reject) => {
    let request;
    const take = (_type, object) => {
      if (object.metadata.name === 'web' && object.status.readyReplicas === replicas) {
        request.then((controller) => controller.abort());
        resolve(replicas);
      }
    };
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments`;
    request = new k8s.Watch(config).watch(path, { timeoutSeconds: 20 }, take, (error) => error && reject(error));
  });

seen.ready = await reached(2);
const scale = await apps.readNamespacedDeploymentScale({ name: 'web', namespace });
scale.spec.replicas = 3;
await apps.replaceNamespacedDeploymentScale({ name: 'web', namespace, body: scale });
seen.scaled = await reached(3);
const pods = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
seen.phases = pods.items.map((pod) => pod.status.phase);
seen.logged = (await core.readNamespacedPodLog({ name: pods.items[0].metadata.name, namespace })).includes('started');
console.log(JSON.stringify(seen));
process.exit(0);
