// What a program with @kubernetes/client-node does: typed calls, errors, patches, server-side apply of any kind, a watch, an informer.
// Run by test_javascript_client.py: node client.mjs KUBECONFIG NAMESPACE. Prints one JSON object of what it saw.
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const seen = {};

const body = (name, data) => ({ metadata: { name, namespace, labels: { app: 'x' } }, data });

seen.created = (await core.createNamespacedConfigMap({ namespace, body: body('a', { x: '1' }) })).data;
try {
  await core.createNamespacedConfigMap({ namespace, body: body('a', {}) });
} catch (error) {
  seen.again = { code: error.code, reason: JSON.parse(error.body).reason };
}
const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app=x' });
seen.listed = listed.items.map((item) => item.metadata.name);

const patched = await core.patchNamespacedConfigMap(
  { name: 'a', namespace, body: [{ op: 'replace', path: '/data/x', value: '2' }] },
  k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
);
seen.patched = patched.data;

// any kind at all, found through discovery
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const wanted = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace }, stringData: { a: 'b' } };
const applied = await objects.patch(wanted, undefined, undefined, 'me', true, k8s.PatchStrategy.ServerSideApply);
seen.applied = applied.data;
seen.read = (await objects.read({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace } })).type;

// a watch from a revision
const revision = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
await core.createNamespacedConfigMap({ namespace, body: body('b', {}) });
await core.deleteNamespacedConfigMap({ name: 'b', namespace });
seen.watched = await new Promise((resolve, reject) => {
  const events = [];
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const watch = new k8s.Watch(config);
  let request;
  const take = (type, object) => {
    events.push(`${type} ${object.metadata.name}`);
    if (events.length === 2) {
      request.then((controller) => controller.abort());
      resolve(events);
    }
  };
  request = watch.watch(path, { resourceVersion: revision, timeoutSeconds: 10 }, take, (error) => error && reject(error));
});

// an informer keeps a cache in step
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
  core.listNamespacedConfigMap({ namespace, labelSelector: 'app=x' }), 'app=x');
const added = new Promise((resolve) => informer.on('add', (object) => object.metadata.name === 'c' && resolve(object.metadata.name)));
await informer.start();
await core.createNamespacedConfigMap({ namespace, body: body('c', {}) });
seen.informed = await added;
await informer.stop();

try {
  await core.readNamespacedConfigMap({ name: 'nope', namespace });
} catch (error) {
  seen.missing = error.code;
}
seen.version = (await config.makeApiClient(k8s.VersionApi).getCode()).minor;
seen.allowed = (
  await config.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({
    body: { spec: { resourceAttributes: { verb: 'create', resource: 'configmaps', namespace } } },
  })
).status.allowed;
const deleted = await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'app=x' });
seen.deleted = deleted.status ?? 'Success';
console.log(JSON.stringify(seen));
process.exit(0);
