"""The way from the control plane into a cluster that it cannot reach: a connection that the cluster's syncer opens.

`protocol` is what both ends agree on, `reverse` the language of kcp 0.11's syncer,
`tunnels` the control plane's end, `pods` what is done with it; the syncer's end is `syncer.tunnel`.
"""
