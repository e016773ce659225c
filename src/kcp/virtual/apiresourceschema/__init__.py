"""`/services/apiresourceschema/<consumer>/…`: the schemas that a workspace's bindings lead to, wherever they are."""
