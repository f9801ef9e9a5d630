"""How each daemon runs: its configuration file and its command line.

What differs from the defaults, and why:
- containerd leaves OOM scores alone: where CAP_SYS_RESOURCE is missing (in many sandboxes) runc could not set them and would
  end with "can't get final child's PID from pipe: EOF".
- Everything that would lie in a folder shared by the machine (runc's state, pods' namespaces, logs, CNI's leases) lies in
  the cluster's folder, so that clusters do not meet and `down` removes it.
- etcd does not wait for the disk: this cluster is for tests.
- kube-proxy leaves the machine's connection table alone.
- kube-router does nothing but enforce NetworkPolicies; the packets of pods on one bridge pass its rules as routed ones do.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.one_node import recipes
from tests.cluster.one_node.credentials import kubeconfig
from tests.cluster.one_node.layout import (
    API_PORT,
    DNS_SERVICE,
    NODE,
    NODE_ADDRESS,
    POD_RANGE,
    SERVICE_RANGE,
    Cluster,
)
from tests.cluster.one_node.packages import CNI_PLUGINS

PAUSE_IMAGE = "localhost/tidegate/pause:1"
CONTROL_PLANE = ("etcd", "containerd", "kube-apiserver")
WORKERS = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
ON_NODE = ("kube-router",)  # ends where it finds no node

_CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{folder}/runc"
"""


def write_configuration(cluster: Cluster) -> None:
    """Write every configuration file; the same cluster gives the same files."""
    cni = cluster.folder / "cni"
    for folder in (cluster.containerd, cni, cluster.pod_logs, cluster.logs):
        folder.mkdir(parents=True, exist_ok=True)
    configuration = _CONTAINERD.format(
        folder=cluster.containerd, socket=cluster.containerd_socket, pause=PAUSE_IMAGE, plugins=CNI_PLUGINS, cni=cni
    )
    (cluster.containerd / "config.toml").write_text(configuration)
    _write(cni / "10-pods.conflist", _pod_network(cluster))
    _write(cluster.folder / "kubelet.json", _kubelet(cluster))


def command(cluster: Cluster, part: str) -> list[str]:
    """The command line of a daemon, to be run inside the cluster's namespace."""
    certs = cluster.certificates
    if part == "etcd":
        return ["etcd", "--data-dir", str(cluster.folder / "etcd"), "--unsafe-no-fsync"]
    if part == "containerd":
        return ["containerd", "--config", str(cluster.containerd / "config.toml")]
    program = str(recipes.binary(recipes.KUBERNETES, part))
    config = ["--kubeconfig", str(kubeconfig(cluster, part.removeprefix("kube-")))]
    if part == "kube-apiserver":
        return [program, *_api_server(certs)]
    if part == "kube-controller-manager":
        return [
            program, *config, "--leader-elect=false", "--use-service-account-credentials", f"--cluster-cidr={POD_RANGE}",
            f"--service-account-private-key-file={certs / 'sa.key'}", f"--root-ca-file={certs / 'ca.crt'}",
        ]  # fmt: skip
    if part == "kube-scheduler":
        return [program, *config, "--leader-elect=false"]
    if part == "kubelet":
        return [
            program, *config, f"--config={cluster.folder / 'kubelet.json'}", f"--root-dir={cluster.folder / 'kubelet'}",
            f"--hostname-override={NODE}", f"--node-ip={NODE_ADDRESS}",
        ]  # fmt: skip
    if part == "kube-proxy":
        return [
            program, *config, "--proxy-mode=iptables", f"--cluster-cidr={POD_RANGE}", f"--hostname-override={NODE}",
            "--conntrack-max-per-core=0",
        ]  # fmt: skip
    if part == "kube-router":
        return [
            str(recipes.binary(recipes.KUBE_ROUTER, part)), *config, "--run-firewall=true", "--run-router=false",
            "--run-service-proxy=false", "--run-loadbalancer=false", f"--hostname-override={NODE}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
        ]  # fmt: skip
    raise ValueError(part)


def _api_server(certs: Path) -> list[str]:
    return [
        "--etcd-servers=http://127.0.0.1:2379",
        f"--bind-address={NODE_ADDRESS}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={certs / 'apiserver.crt'}",
        f"--tls-private-key-file={certs / 'apiserver.key'}",
        f"--client-ca-file={certs / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",  # no name of a node resolves in a namespace of its own
        f"--kubelet-certificate-authority={certs / 'ca.crt'}",
        f"--kubelet-client-certificate={certs / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={certs / 'apiserver-kubelet.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={certs / 'sa.pub'}",
        f"--service-account-signing-key-file={certs / 'sa.key'}",
        f"--requestheader-client-ca-file={certs / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certs / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={certs / 'front-proxy-client.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
    ]


def _pod_network(cluster: Cluster) -> object:
    addresses = {
        "type": "host-local",
        "dataDir": str(cluster.folder / "ipam"),
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": cluster.unique, "plugins": [bridge, ports]}


def _kubelet(cluster: Cluster) -> object:
    certs = cluster.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certs / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certs / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(certs / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.unique}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "containerRuntimeEndpoint": f"unix://{cluster.containerd_socket}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "",  # no way out of the namespace, so no resolver of the machine's either
        "podLogsDir": str(cluster.pod_logs),
        "imageGCHighThresholdPercent": 100,  # what was loaded cannot be pulled again
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
        "registryPullQPS": 0,
        "serializeImagePulls": False,
    }


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")
