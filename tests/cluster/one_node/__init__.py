"""A real Kubernetes of one node, from packages, in a network namespace of its own: a fixture of the tests.

It is for machines without a container daemon; where there is one, kind and k3d start a cluster of your own.
Nothing of it is for production: etcd does not sync to disk, and whoever is root on the machine is admin of the cluster.

Invariants:
- Everything of a cluster is found again from the system itself, never from notes that a crash could leave behind or out:
  daemons by a mark in their environment, containers by their control group, mounts by their path, the namespace by its name.
  So `up` continues where an interrupted `up` stopped, and `down` leaves nothing, whatever happened before.
- Clusters of different names share nothing but the caches, so several run side by side with the same addresses: each is alone
  in its network namespace, which has no uplink, so no packet for a pod or a service ever leaves the machine.

Limits: Linux, root, Debian's packages of containerd and etcd; no CNI that enforces NetworkPolicies.

Modules: `recipes` builds the binaries, `packages` knows Debian's, `images` builds container images, `layout` names a
cluster's things, `network`, `control_groups`, `credentials` and `processes` each hold one kind of them, `components` says how
the daemons run, `addons` what is applied once the node is ready, `lifecycle` is up and down, `cli` the command line.
It runs on the bare Python of the system: only the standard library is imported, and the cache of `infra.images`.
"""
